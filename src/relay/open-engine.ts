import { explain, Fault } from "../core/fault.ts";
import type { ENGINES, Engine } from "./engine.ts";
import { type KernelOptions, openKernelEngine } from "./kernel/engine.ts";
import { openStreamEngine } from "./stream/engine.ts";

/** Opens the engine that was chosen, or with `auto` the best that works here. */
export async function openEngine(
  choice: (typeof ENGINES)[number],
  options: KernelOptions,
): Promise<Engine> {
  if (choice === "stream") return openStreamEngine();
  try {
    return await openKernelEngine(options);
  } catch (reason) {
    if (choice === "kernel") {
      const message = `splice: kernel does not work here, choose auto: ${explain(reason)}`;
      throw new Fault("settings", message, { cause: reason });
    }
    options.log.info(
      { reason: explain(reason) },
      "splicing by Node's streams, the kernel's splice is missing",
    );
    return openStreamEngine();
  }
}
