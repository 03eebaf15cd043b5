import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeGreeting,
  GREETING_SIZE,
  HandshakeWatch,
  readCurveHello,
  readCurveWelcome,
  readGreeting,
  readSocketType,
} from "../../../src/wire/zmtp.ts";

/** What libzmq 4.3.5 sends (seed-systems 3.5): the signature, version 3.1, the mechanism, zeros. */
const CURVE = Buffer.concat([
  Buffer.from("ff00000000000000017f", "hex"),
  Buffer.from("0301", "hex"),
  Buffer.from("CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
  Buffer.alloc(32),
]);
const command = (flags: number, name: string, rest: number, fill = 7): Buffer =>
  Buffer.concat([
    Buffer.from([flags, 1 + name.length + rest, name.length]),
    Buffer.from(name),
    Buffer.alloc(rest, fill),
  ]);
const HELLO = Buffer.concat([
  Buffer.from("04c80548454c4c4f0100", "hex"),
  Buffer.alloc(72),
  Buffer.alloc(32 + 8 + 80, 9),
]);
const WELCOME = command(0x04, "WELCOME", 160);
const READY = command(0x04, "READY", 59);
const MESSAGE = Buffer.concat([Buffer.from([0, 40, 7]), Buffer.from("MESSAGE"), Buffer.alloc(32)]);

const altered = (bytes: Buffer, at: number, ...values: number[]): Buffer => {
  const copy = Buffer.from(bytes);
  copy.set(values, at);
  return copy;
};
const mechanism = (name: string): Buffer =>
  altered(CURVE, 12, ...Buffer.from(name.padEnd(20, "\0")));

/** What came of it, so that two ways of saying the same can be compared. */
function outcome<T>(read: () => T): T | string {
  try {
    return read();
  } catch (reason) {
    expect(reason).toMatchObject({ name: "Fault" });
    return (reason as { fault: string }).fault;
  }
}

/** The outcome of reading again at each of these lengths, until it is known. */
function piecemeal<T>(read: (bytes: Buffer) => T, bytes: Buffer, cuts: number[]): T | string {
  for (const size of [...cuts.sort((a, b) => a - b), bytes.length]) {
    const result = outcome(() => read(bytes.subarray(0, size)));
    if (result !== undefined) return result;
  }
  return outcome(() => read(bytes));
}

const READERS = { readGreeting, readCurveHello, readCurveWelcome };

describe("a greeting of ZMTP", () => {
  it("is written as libzmq writes it", () => {
    expect(encodeGreeting("CURVE")).toEqual(CURVE);
    expect(encodeGreeting("NULL")).toEqual(mechanism("NULL"));
  });

  it("says mechanism, minor version and role, whatever the padding and whatever follows", () => {
    expect(readGreeting(CURVE)).toEqual({ minor: 1, mechanism: "CURVE", as_server: false });
    const identity = altered(CURVE, 8, 9); // eight bytes of identity
    expect(readGreeting(Buffer.concat([altered(identity, 32, 1), HELLO]), "CURVE")).toEqual({
      minor: 1,
      mechanism: "CURVE",
      as_server: true,
    });
    expect(readGreeting(mechanism("X".repeat(20)))?.mechanism).toBe("X".repeat(20));
    expect(readGreeting(altered(CURVE, 10, 4, 0), "CURVE")?.minor).toBe(0);
  });

  it("may come byte by byte", () => {
    for (let size = 0; size < GREETING_SIZE; size += 1) {
      expect(readGreeting(CURVE.subarray(0, size), "CURVE")).toBeUndefined();
    }
  });

  it.each([
    ["HTTP", Buffer.from("G"), "malformed"],
    ["TLS", Buffer.from([22]), "malformed"],
    ["a message of RelayServer", Buffer.from([0]), "malformed"],
    ["many FF", Buffer.alloc(10, 0xff), "malformed"],
    ["ZMTP 2", Buffer.concat([CURVE.subarray(0, 10), Buffer.from([1])]), "malformed"],
    ["a third role", altered(CURVE, 32, 2).subarray(0, 33), "malformed"],
    ["one without a mechanism", altered(CURVE, 12, 0).subarray(0, 13), "forbidden"],
    ["curve", mechanism("curve").subarray(0, 13), "forbidden"],
    ["NULL", mechanism("NULL").subarray(0, 13), "forbidden"],
    ["PLAIN", mechanism("PLAIN").subarray(0, 13), "forbidden"],
    ["CURVE2", mechanism("CURVE2").subarray(0, 18), "forbidden"],
  ])("is not %s, which is told at the first byte that says so", (_, bytes, fault) => {
    expect(outcome(() => readGreeting(bytes, "CURVE"))).toBe(fault);
    const before = outcome(() => readGreeting(bytes.subarray(0, -1), "CURVE"));
    if (bytes.length !== 10) expect(before).toBeUndefined();
  });

  it("may name any mechanism where any is wanted, but must name one", () => {
    expect(readGreeting(mechanism("NULL"))?.mechanism).toBe("NULL");
    for (const name of ["", "\0A", "A\0B", "curve", "A B"])
      expect(outcome(() => readGreeting(mechanism(name)))).toBe("malformed");
  });
});

describe("the opening of a CURVE client", () => {
  const opening = Buffer.concat([CURVE, HELLO]);

  it("is its greeting and its HELLO, and ends there", () => {
    expect(HELLO.length).toBe(202);
    expect(readCurveHello(opening)).toBe(266);
    expect(readCurveHello(Buffer.concat([opening, Buffer.from("more")]))).toBe(266);
    for (let size = 0; size < 266; size += 1)
      expect(readCurveHello(opening.subarray(0, size))).toBeUndefined();
  });

  it.each([
    ["a message", altered(opening, 64, 0)],
    ["a long frame", altered(opening, 64, 6)],
    ["another size", altered(opening, 65, 0xc7)],
    ["another command", altered(opening, 67, 0x57)],
    ["another version of CURVE", altered(opening, 72, 2)],
    ["padding that is not zero", altered(opening, 145, 1)],
  ])("is not %s", (_, bytes) => {
    expect(outcome(() => readCurveHello(bytes))).toBe("malformed");
  });
});

describe("the answer of a worker", () => {
  const answer = Buffer.concat([CURVE, WELCOME]);

  it("is its greeting and all of its WELCOME", () => {
    expect(WELCOME.length).toBe(170);
    expect(readCurveWelcome(answer)).toBe(true);
    expect(readCurveWelcome(answer.subarray(0, -1))).toBeUndefined();
    expect(readCurveWelcome(CURVE)).toBeUndefined();
    expect(readCurveWelcome(CURVE.subarray(0, 10))).toBeUndefined(); // an idle worker's prefix
  });

  it.each([
    ["an error", Buffer.concat([CURVE, command(4, "ERROR", 4)])],
    ["another mechanism's", Buffer.concat([CURVE, READY])],
    ["cut short in its size", altered(answer, 65, 0xa7)],
  ])("is not %s", (_, bytes) => {
    expect(outcome(() => readCurveWelcome(bytes))).toBe("malformed");
  });
});

describe("any bytes", () => {
  /** Bytes that are nearly right are the ones that matter. */
  const nearly = fc
    .tuple(
      fc.constantFrom(
        Buffer.concat([CURVE, HELLO, READY]),
        Buffer.concat([CURVE, WELCOME, READY]),
        Buffer.concat([mechanism("NULL"), READY]),
      ),
      fc.option(fc.tuple(fc.nat(300), fc.nat(255))),
    )
    .map(([bytes, change]) =>
      change ? altered(bytes, change[0] % bytes.length, change[1]) : bytes,
    );
  const any = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));

  it.each(Object.entries(READERS))("%s reads the same in any segments", (_, read) => {
    fc.assert(
      fc.property(fc.oneof(nearly, any), fc.array(fc.nat(300)), (bytes, cuts) => {
        expect(piecemeal(read as (bytes: Buffer) => unknown, bytes, cuts)).toEqual(
          piecemeal(
            read as (bytes: Buffer) => unknown,
            bytes,
            Array.from(bytes, (_, at) => at),
          ),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("a watch sees the same in any segments, and stays with what it has seen", () => {
    const frames = fc
      .array(
        fc.oneof(
          fc.constantFrom(WELCOME, READY, MESSAGE, command(4, "ERROR", 3), command(4, "X", 0)),
          any,
        ),
        { maxLength: 4 },
      )
      .map((parts) => Buffer.concat([WELCOME, ...parts]));
    fc.assert(
      fc.property(frames, fc.array(fc.nat(900)), (bytes, cuts) => {
        const [whole, parts, single] = [
          new HandshakeWatch(),
          new HandshakeWatch(),
          new HandshakeWatch(),
        ];
        const expected = whole.see(bytes);
        let state = "handshaking";
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        for (const [index, place] of places.entries())
          state = parts.see(bytes.subarray(place, places[index + 1] ?? bytes.length));
        for (const byte of bytes) single.see(Buffer.from([byte]));
        expect(state).toBe(expected);
        expect(single.see(Buffer.alloc(0))).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });
});

describe("watching a handshake", () => {
  const long = Buffer.alloc(9 + 300);
  long.set([6, 0, 0, 0, 0, 0, 0, 1, 44, 6]);
  long.write("SOMETH", 10);

  it("ends with READY, and nothing behind it matters", () => {
    const watch = new HandshakeWatch();
    expect(watch.see(WELCOME)).toBe("handshaking");
    expect(watch.see(READY.subarray(0, 7))).toBe("handshaking");
    expect(watch.see(READY.subarray(7))).toBe("ready");
    expect(watch.see(Buffer.alloc(100, 0xff))).toBe("ready");
  });

  it("passes over long frames", () => {
    expect(new HandshakeWatch().see(Buffer.concat([WELCOME, long, READY]))).toBe("ready");
  });

  it.each([
    ["an ERROR", command(4, "ERROR", 20)],
    ["a message before READY", MESSAGE],
    ["a command of no size", Buffer.from([4, 0])],
    ["a command without a name", Buffer.from([4, 5, 0])],
    ["a name longer than its frame", Buffer.from([4, 3, 3, 65, 65])],
    ["a command of 4 GiB", Buffer.from([6, 0, 0, 0, 1, 0, 0, 0, 0, 1])],
    ["a command that has more", command(5, "READY", 59)],
    ["flags that mean nothing", command(0x0c, "READY", 59)],
  ])("fails with %s", (_, bytes) => {
    expect(new HandshakeWatch().see(Buffer.concat([WELCOME, bytes]))).toBe("failed");
  });
});

describe("the READY of a peer with NULL", () => {
  const property = (name: string, value: string): Buffer =>
    Buffer.concat([
      Buffer.from([name.length]),
      Buffer.from(name),
      Buffer.from([0, 0, 0, value.length]),
      Buffer.from(value),
    ]);
  const body = (...properties: Buffer[]): Buffer =>
    Buffer.concat([Buffer.from([5]), Buffer.from("READY"), ...properties]);
  const frame = (bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0x04, bytes.length]), bytes]);
  const NULL = encodeGreeting("NULL");
  const IDENTITY = property("Identity", "responder-1");
  const READ = body(IDENTITY, property("socket-type", "ROUTER"));
  const long = Buffer.concat([Buffer.from([0x06, 0, 0, 0, 0, 0, 0, 0, READ.length]), READ]);

  it.each([
    ["short", frame(READ)],
    ["long", long],
    ["with more behind it", Buffer.concat([frame(READ), MESSAGE])],
  ])("says what socket it is, however it is cut: %s", (_, ready) => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { maxLength: 10 }), (cuts) => {
        const bytes = Buffer.concat([NULL, ready]);
        expect(piecemeal(readSocketType, bytes, cuts)).toBe("ROUTER");
      }),
    );
  });

  it.each([
    ["no socket", frame(body(IDENTITY))],
    ["half a property", frame(body(property("Socket-Type", "DEALER").subarray(0, 14)))],
    ["another command", command(0x04, "ERROR", 5)],
    ["a message", MESSAGE],
    ["too much", Buffer.from([0x06, 0, 0, 0, 0, 1, 0, 0, 0])],
  ])("is refused with %s", (_, ready) => {
    expect(outcome(() => readSocketType(Buffer.concat([NULL, ready])))).toBe("malformed");
  });

  it("is none with CURVE", () => {
    expect(outcome(() => readSocketType(Buffer.concat([CURVE, frame(READ)])))).toBe("forbidden");
  });
});
