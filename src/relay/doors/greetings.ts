import type { Door } from "../leg.ts";
import type { Greeting } from "./greeting.ts";
import { SNI } from "./sni.ts";
import { TOKEN } from "./token.ts";

/** Doors where strangers come in by themselves and one message says it all. */
export type Greeted = Extract<Door, "token" | "sni">;

export const GREETINGS: Record<Greeted, Greeting> = { token: TOKEN, sni: SNI };
