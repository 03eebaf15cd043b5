import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Engine } from "../../src/relay/engine.ts";
import type { Line, Side } from "../../src/relay/leg.ts";
import { Entrance } from "./engines.ts";
import { Listening, recite } from "./speech.ts";
import { until } from "./until.ts";
import { openDescriptors } from "./wires.ts";

export const MIB = 1024 ** 2;
export const NO_LIMIT = { bytes_max: Infinity };
export const both = ["caller", "callee"] as const;
const SPEAKERS = [["caller"], ["callee"], ["caller", "callee"]] as const;

export const other = (side: Side): Side => (side === "caller" ? "callee" : "caller");

/** An engine under test, and who comes in by its door. After each test nothing may be left open. */
export class Bench {
  engine!: Engine;
  entrance!: Entrance;
  readonly #outsiders: Socket[] = [];

  constructor(open: () => Promise<Engine>) {
    let descriptors: number | undefined;
    beforeAll(async () => {
      this.engine = await open();
      this.entrance = await Entrance.open(this.engine);
    });
    afterAll(async () => {
      await this.entrance[Symbol.asyncDispose]();
      await this.engine[Symbol.asyncDispose]();
    });
    beforeEach(() => {
      descriptors = openDescriptors();
    });
    afterEach(async () => {
      for (const socket of this.#outsiders.splice(0)) socket.destroy();
      await until(
        () => openDescriptors() === descriptors,
        () => `${descriptors} descriptors are left (there are ${openDescriptors()})`,
      );
    });
  }

  /** Destroys it behind the test. */
  use(socket: Socket): Socket {
    this.#outsiders.push(socket);
    return socket;
  }

  /** Two parties that came in by the door, the second with what it has to say already. */
  async arrivals(early?: Buffer) {
    const [caller, callee] = [await this.entrance.enter(), await this.entrance.enter(early)];
    const outside = { caller: this.use(caller.outside), callee: this.use(callee.outside) };
    const lines: Record<Side, Line> = { caller: caller.leg.line, callee: callee.leg.line };
    return { outside, lines };
  }

  /** Two parties and the circuit between them. */
  async circuit(limits = NO_LIMIT) {
    const { outside, lines } = await this.arrivals();
    const listeners = {
      caller: new Listening(outside.caller),
      callee: new Listening(outside.callee),
    };
    return { outside, listeners, spliced: this.engine.splice(lines, limits) };
  }
}

/** Every way in which a circuit can go on after `sizes` bytes went from one side, the other, and both at once. */
export function describeMatrix(bench: Bench, sizes: readonly number[]): void {
  const matrix = SPEAKERS.flatMap((speakers) => sizes.map((size) => ({ speakers, size })));

  describe.each(matrix)("when $size bytes go from $speakers", ({ speakers, size }) => {
    const expected = {
      caller: (speakers as readonly Side[]).includes("caller") ? size : 0,
      callee: (speakers as readonly Side[]).includes("callee") ? size : 0,
    };
    const speak = (outside: Record<Side, Socket>): Promise<unknown> =>
      Promise.all(speakers.map((speaker) => recite(outside[speaker], size)));

    it("carries them unchanged, and both sides end", async () => {
      const { outside, listeners, spliced } = await bench.circuit();
      await speak(outside);
      outside.caller.end();
      outside.callee.end();

      for (const side of both) {
        expect(await listeners[side].hearsTheEnd()).toBe("end");
        expect(listeners[side]).toMatchObject({ size: expected[other(side)], wrong_at: undefined });
      }
      expect(await spliced.over).toMatchObject({ ending: "done", bytes: expected });
    });

    it("lets a side that finished speaking still hear the answer", async () => {
      const { outside, listeners, spliced } = await bench.circuit();
      const first = speakers[0];
      const second = other(first);
      await speak(outside);
      outside[first].end();
      expect(await listeners[second].hearsTheEnd()).toBe("end");
      expect(listeners[second]).toMatchObject({ size, wrong_at: undefined });

      const answer = Math.min(size, MIB) + 1;
      await recite(outside[second], answer, expected[second]);
      outside[second].end();
      expect(await listeners[first].hearsTheEnd()).toBe("end");
      const heard = expected[second] + answer;
      expect(listeners[first]).toMatchObject({ size: heard, wrong_at: undefined });

      const { ending, by, bytes } = await spliced.over;
      expect({ ending, by }).toEqual({ ending: "done", by: first });
      expect(bytes).toEqual({ ...expected, [second]: heard });
    });

    it("resets the partner of a side that breaks after them", async () => {
      const { outside, listeners, spliced } = await bench.circuit();
      const breaker = speakers[0];
      await speak(outside);
      for (const speaker of speakers) await listeners[other(speaker)].hears(size);
      outside[breaker].resetAndDestroy();

      expect(await listeners[other(breaker)].hearsTheEnd()).toBe("ECONNRESET");
      for (const side of both) expect(listeners[side].wrong_at).toBeUndefined();
      expect(await spliced.over).toEqual({ ending: "broken", by: breaker, bytes: expected });
    });

    it("resets both when it is cut after them", async () => {
      const { outside, listeners, spliced } = await bench.circuit();
      await speak(outside);
      for (const speaker of speakers) await listeners[other(speaker)].hears(size);
      spliced.cut("shutdown");

      for (const side of both) {
        expect(await listeners[side].hearsTheEnd()).toBe("ECONNRESET");
        expect(listeners[side].wrong_at).toBeUndefined();
      }
      expect(await spliced.over).toEqual({ ending: "shutdown", by: "us", bytes: expected });
    });
  });
}
