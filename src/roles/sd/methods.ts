import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import { LIMITS } from "../../directory/limits.ts";
import { SignedRecord } from "../../directory/record.ts";
import { type MethodTable, method } from "../../rpc/methods.ts";
import type { Json } from "../../wire/json.ts";
import type { SdEvents } from "./events.ts";
import type { Registry } from "./registry.ts";

const WAIT_MAX_MS = 60_000;
const HASH = /^([a-f0-9]{64}|)$/;

const Nothing = z.object({});
const Batch = z.object({ records: z.array(SignedRecord).max(LIMITS.list_length_max) });
const After = z.object({
  after: z.string().regex(HASH, "expected the hash of a record, or nothing").nullish(),
  /** Ours: how long to hold the answer back while there is nothing new. Milliseconds. */
  wait_ms: z.int().min(0).max(WAIT_MAX_MS).nullish(),
});
const Named = z.object({ name: z.string() });

/** What a service directory answers (eps-protocol 8.7). Who may connect may ask; who signs may change. */
export function sdMethods(registry: Registry, { events }: { events: SdEvents }): MethodTable {
  return new Map([
    [
      "submitRecords",
      method(Batch, async ({ records }) => {
        await registry.submit(records).catch((reason) => {
          events.refused(reason);
          throw reason;
        });
        events.accepted();
        return "ok";
      }),
    ],
    ["getTip", method(Nothing, () => json(registry.ledger.tip ?? null))],
    [
      "getRecords",
      method(After, async ({ after, wait_ms }, signal) =>
        json(await registry.after(after ?? "", wait_ms ?? 0, signal)),
      ),
    ],
    ["getEntries", method(Nothing, () => json(registry.ledger.entries()))],
    [
      "getEntry",
      method(Named, ({ name }) => {
        const entry = registry.ledger.entry(name);
        if (!entry) throw new Fault("not_found", "not found");
        return json(entry);
      }),
    ],
  ]);
}

/** Records and entries are JSON already; their types are only narrower. */
function json(value: unknown): Json {
  return value as Json;
}
