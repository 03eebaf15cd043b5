import { setFlagsFromString } from "node:v8";

/**
 * Lets the heap become five times what lives in it before all of it is collected. For programs whose bytes
 * pass by: each buffer is garbage soon, is freed by the small collections, and yet counts towards the
 * next large one, so that V8, left alone, collects everything several times a second.
 */
export function letGarbageWait(): void {
  setFlagsFromString("--heap-growing-percent=400");
}
