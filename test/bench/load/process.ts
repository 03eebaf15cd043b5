/** One side of the load as a process of its own, told by its parent what to do next. */
import { Bulk } from "./bulk.ts";
import { type Leg, open, type Side, type Way } from "./legs.ts";
import { answer, ask } from "./rounds.ts";
import { close, dial, listen, memory, send } from "./system-calls.ts";

/** What a parent may ask for, and what it is answered. */
export type Work = {
  listen: { asked: object; answered: { port: number } };
  open: {
    asked: { side: Side; way: Way; stay: boolean };
    answered: { opened: number; waits_us: number[] };
  };
  /** Dials and says nothing, or with `dribbles` one byte on every second connection. */
  hold: { asked: { port: number; count: number; dribbles: boolean }; answered: object };
  bulk: { asked: { sends: boolean; until_ms: number }; answered: { sent: number[] } };
  drain: {
    asked: { expected: number[] };
    answered: { received: number[]; ended_ms: number };
  };
  ask: {
    asked: { until_ms: number };
    answered: { rounds: number; p50_us: number; p99_us: number };
  };
  answer: { asked: object; answered: object };
  close: { asked: object; answered: object };
};

type Asked = { [What in keyof Work]: { what: What } & Work[What]["asked"] }[keyof Work];

const { socket: listener, port } = listen();
let legs: Leg[] = [];
let bulk = new Bulk([]);
const byte = memory(1);

function work(asked: Asked): Work[keyof Work]["answered"] {
  switch (asked.what) {
    case "listen":
      return { port };
    case "open": {
      const opened = open(asked.side, { ...asked, listener });
      legs = [...legs, ...opened.legs];
      bulk = new Bulk(legs);
      return { opened: opened.legs.length, waits_us: opened.waits_us };
    }
    case "hold":
      for (let each = 0; each < asked.count; each += 1) {
        const socket = dial(asked.port);
        legs.push({ socket, circuit: each });
        if (asked.dribbles && each % 2) send(socket, byte.address, 1);
      }
      return {};
    case "bulk":
      return bulk.run(asked);
    case "drain":
      return bulk.drain(asked.expected);
    case "ask": {
      const rounds = ask(legs, asked.until_ms);
      closeAll();
      return rounds;
    }
    case "answer":
      answer(legs);
      closeAll();
      return {};
    case "close":
      closeAll();
      return {};
  }
}

function closeAll(): void {
  for (const { socket } of legs) close(socket);
  legs = [];
}

process.on("message", (asked: Asked) => {
  try {
    process.send?.({ answered: work(asked) });
  } catch (reason) {
    process.send?.({ failed: String(reason) });
    closeAll();
  }
});
process.on("disconnect", () => process.exit());
