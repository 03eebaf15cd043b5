import * as z from "zod";
import { Fault } from "../core/fault.ts";
import type { Directory } from "../directory/directory.ts";
import { clientEntry, type Entry } from "../directory/entry.ts";
import type { Json } from "../wire/json.ts";
import { now } from "../wire/timestamp.ts";
import type { Broker, InternalMethod } from "./broker.ts";
import type { ConnectedPeer } from "./connected-peer.ts";
import { type Later, PICK_UP } from "./later.ts";
import { routeTo } from "./route.ts";

export type DialIn = (endpoint: string, token: Buffer, signal: AbortSignal) => Promise<void>;

type Dependencies = {
  self: string;
  version: string;
  directory: Directory;
  later: Later;
  dialIn?: DialIn | undefined;
  /** Who is connected now, by every way there is. */
  connected: () => ConnectedPeer[];
};

/** Teaches a broker the calls that every endpoint answers itself (eps-protocol 4.4). */
export function answerInternally(broker: Broker, deps: Dependencies): void {
  broker.answer("_ping", ping(deps));
  broker.answer("_directory", directoryQuery(deps));
  broker.answer("_connectionRequest", connectionRequest(deps));
  // Whoever made a call may pick its answer up, and finds nothing that was promised to somebody else.
  broker.answer(PICK_UP, pickUp(deps), { unguarded: true });
  broker.answer("_peers", peers(deps));
}

function ping({ self, version, directory }: Dependencies): InternalMethod {
  return ({ params }) => ({
    version,
    timestamp: now(),
    params,
    serverInfo: shown(directory.entry(self)),
  });
}

const Query = z.object({
  group: z.string().nullish(),
  operator: z.string().nullish(),
  channels: z.unknown().optional(),
});

function directoryQuery({ directory }: Dependencies): InternalMethod {
  return ({ params }) => {
    const query = check(Query, params);
    const types = Array.isArray(query.channels) ? query.channels : [];
    const entries = directory
      .entries()
      .filter(({ name }) => !query.operator || name === query.operator)
      .filter(({ groups }) => !query.group || groups.includes(query.group))
      .filter(
        ({ channels }) =>
          query.channels === undefined || channels.some(({ type }) => types.includes(type)),
      );
    return { entries: entries.map(shown) };
  };
}

const Invitation = z.object({
  channel: z.literal("grpc_server", "no channel accepted the request"),
  endpoint: z.string().min(1).max(300),
  token: z.base64().min(4).max(128),
  client: z.object({ name: z.string() }),
});

/**
 * A proxy tells us that somebody waits for us there. Only the proxy that the directory names as ours
 * may do so, since nothing is dialled that just anybody asked for.
 */
function connectionRequest({ self, directory, dialIn }: Dependencies): InternalMethod {
  return async ({ params, caller }, signal) => {
    const { endpoint, token } = check(Invitation, params);
    if (!dialIn) throw new Fault("failed", "no channel accepted the request");
    if (routeTo(directory.entry(self))?.proxy !== caller.name) {
      throw new Fault(
        "forbidden",
        `the directory does not name ${caller.name} as proxy of ${self}`,
      );
    }
    await dialIn(endpoint, Buffer.from(token, "base64"), signal);
    return null;
  };
}

const Lost = z.object({ id: z.string() });
const PICK_UP_WAIT_MS = 20_000;

/** Waits a while for the answer that our service has promised to the caller. */
function pickUp({ later }: Dependencies): InternalMethod {
  return async ({ params, caller }, signal) => {
    const { id } = check(Lost, params);
    const answer = await later.pickUp({ id, caller: caller.name }, PICK_UP_WAIT_MS, signal);
    return answer ? { answer: answer as unknown as Json } : { pending: true };
  };
}

/** Ours. For the operator itself; for others only if the directory lets them call it, like anything else. */
function peers({ connected }: Dependencies): InternalMethod {
  return () => {
    const all = connected();
    const streams = new Set(
      all.filter(({ way }) => way === "reverse_out").map(({ operator }) => operator),
    );
    // The stream runs on a connection that we dialled, and is no call there.
    const told = all.map((each) => {
      const carriesStream = each.way === "dialled" && streams.has(each.operator);
      return { ...each, calls: Math.max(0, each.calls - Number(carriesStream)) };
    });
    return { peers: told.sort((a, b) => a.operator.localeCompare(b.operator)) };
  };
}

function check<S extends z.ZodType>(form: S, params: unknown): z.output<S> {
  const checked = form.safeParse(params);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.map(({ path, message }) => `${path.join(".")}(${message})`);
  throw new Fault("malformed", `invalid input data: ${problems.join(", ")}`);
}

function shown(entry: Entry | undefined): Json {
  return entry ? (clientEntry(entry) as unknown as Json) : null;
}
