import { accept, close, dial, memory, Poll, READABLE, receive, send } from "./system-calls.ts";

/** What a leg says to be let in, and what it is told before it may go on; base64, may be empty. */
export type Knock = { readonly hello: string; readonly welcome: string };

/** How the legs of one side come to be: by dialling a port, or by being dialled. */
export type Way =
  | { readonly port: number; readonly knocks: readonly Knock[] }
  | { readonly accept: number };

export type Side = "caller" | "callee";

/** A connection of one side; its circuit has the same number on the other side. */
export type Leg = { readonly socket: number; readonly circuit: number };

type Opening = {
  readonly socket: number;
  readonly begun: number;
  circuit: number;
  stage: "welcome" | "number" | "greeting";
  /** What has to come next, and how much of it has come. */
  want: number;
  heard: Buffer;
};

const NOTHING: Knock = { hello: "", welcome: "" };
/** The callee is always ahead, because some relays refuse those who come at the same instant. */
const IN_FLIGHT = { caller: 64, callee: 128 };
const NUMBER_SIZE = 4;
const STALLED_MS = 20_000;
/** The circuit of a connection that has come in and has not said its number. */
const NOBODY = -1;
const small = memory(256);

/**
 * Opens circuits, 64 at once. One counts as open when the caller has sent its number and
 * the callee has sent a byte back. With `stay` the legs are brought back; without it each side
 * closes its leg as soon as it is open. Throws if nothing moves for long.
 */
export function open(
  side: Side,
  { way, listener, stay }: { way: Way; listener: number; stay: boolean },
): { legs: Leg[]; waits_us: number[] } {
  using poll = new Poll();
  const [legs, waits_us]: [Leg[], number[]] = [[], []];
  const openings = new Map<number, Opening>();
  const total = "accept" in way ? way.accept : way.knocks.length;
  let [begun, over, refused] = [0, 0, 0];
  let moved = performance.now();

  const begin = (socket: number, circuit: number, { hello, welcome }: Knock): void => {
    poll.add(socket, READABLE);
    const opening: Opening = {
      ...{ socket, circuit, begun: performance.now() },
      ...{ stage: "welcome", want: Buffer.from(welcome, "base64").length, heard: Buffer.alloc(0) },
    };
    openings.set(socket, opening);
    if (hello !== "") say(socket, Buffer.from(hello, "base64"));
    if (opening.want === 0) speak(opening);
  };

  /** Now the circuit carries what is said. */
  const speak = (opening: Opening): void => {
    opening.heard = Buffer.alloc(0);
    [opening.stage, opening.want] = side === "caller" ? ["greeting", 1] : ["number", NUMBER_SIZE];
    if (side === "callee") return;
    const number = Buffer.alloc(NUMBER_SIZE);
    number.writeUInt32BE(opening.circuit);
    say(opening.socket, number);
  };

  const finish = ({ socket, circuit, begun: since }: Opening): void => {
    waits_us.push((performance.now() - since) * 1_000);
    over += 1;
    openings.delete(socket);
    poll.remove(socket);
    if (stay) legs.push({ socket, circuit });
    else close(socket);
  };

  /**
   * Somebody only looked whether a relay is there, and the relay dialled us for it; or the relay was
   * not ready for a leg, as syncthing-relaysrv may be when both sides come at once.
   */
  const forget = ({ socket }: Opening): void => {
    openings.delete(socket);
    poll.remove(socket);
    close(socket);
  };

  const heard = (opening: Opening): void => {
    const { stage, socket, circuit } = opening;
    if (stage === "welcome") {
      const expected = "knocks" in way ? way.knocks[circuit]?.welcome : "";
      const welcome = opening.heard.toString("base64");
      if (welcome === expected) {
        speak(opening);
        return;
      }
      refused += 1;
      if (refused > total) throw new Error(`legs are not let in but told ${opening.heard}`);
      forget(opening);
      if ("port" in way) begin(dial(way.port), circuit, way.knocks[circuit] ?? NOTHING);
    } else if (stage === "number") {
      const number = opening.heard.readUInt32BE();
      if ("knocks" in way && number !== circuit) throw new Error("circuits were mixed up");
      opening.circuit = number;
      say(socket, Buffer.from([number & 0xff]));
      finish(opening);
    } else {
      if (opening.heard[0] !== (circuit & 0xff)) throw new Error("a greeting was not the one sent");
      finish(opening);
    }
  };

  const dialMore = (): void => {
    if (!("knocks" in way)) return;
    while (openings.size < IN_FLIGHT[side] && begun < total) {
      begin(dial(way.port), begun, way.knocks[begun] ?? NOTHING);
      begun += 1;
    }
  };

  if ("accept" in way) poll.add(listener, READABLE);
  while (over < total) {
    dialMore();
    poll.wait((socket) => {
      moved = performance.now();
      const opening = openings.get(socket);
      if (!opening) {
        for (let next = accept(listener); next >= 0; next = accept(listener)) {
          begin(next, NOBODY, NOTHING);
        }
        return;
      }
      const count = receive(socket, small.address, opening.want - opening.heard.length);
      if (count < 0) return;
      if (count === 0 && opening.circuit === NOBODY) return forget(opening);
      if (count === 0) throw new Error(`a circuit ended while waiting for its ${opening.stage}`);
      opening.heard = Buffer.concat([opening.heard, small.bytes.subarray(0, count)]);
      if (opening.heard.length === opening.want) heard(opening);
    });
    if (performance.now() - moved > STALLED_MS) {
      throw new Error(
        `${side}: ${over} of ${total} circuits were open, and nothing moved any more`,
      );
    }
  }
  return { legs, waits_us };
}

function say(socket: number, bytes: Buffer): void {
  bytes.copy(small.bytes);
  if (send(socket, small.address, bytes.length) !== bytes.length) {
    throw new Error("a socket that was just opened had no room");
  }
}
