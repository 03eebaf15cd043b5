import { explain, Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import type { ENGINES, Engine } from "./engine.ts";
import { openKernelEngine } from "./kernel/engine.ts";
import { openStreamEngine } from "./stream/engine.ts";

/** Opens the engine that was chosen, or with `auto` the best that works here. */
export async function openEngine(
  choice: (typeof ENGINES)[number],
  { log }: { log: Log },
): Promise<Engine> {
  if (choice === "stream") return openStreamEngine();
  try {
    return await openKernelEngine({ log });
  } catch (reason) {
    if (choice === "kernel") {
      const message = `splice: kernel does not work here, choose auto: ${explain(reason)}`;
      throw new Fault("settings", message, { cause: reason });
    }
    log.info(
      { reason: explain(reason) },
      "splicing by Node's streams, the kernel's splice is missing",
    );
    return openStreamEngine();
  }
}
