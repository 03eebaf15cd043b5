import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeAnnouncement,
  decodeHello,
  decodeHelloResponse,
  encodeAnnouncement,
  encodeHello,
  encodeHelloResponse,
  RelayMessages,
} from "../../../src/wire/relayserver.ts";
import { field, whole } from "../../support/protobuf.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

/** What Google's protobuf runtime writes (seed-systems 2.2). */
const GOLDEN = {
  hello: hex("00 00 00 02 08 01"),
  response: hex("00 00 00 14 08 ac 02 12 09 31 32 37 2e 30 2e 30 2e 31 1a 04 38 30 30 32"),
  open: hex("00 00 00 09 08 01 10 00 1a 03 08 ac 02"),
  drop: hex("00 00 00 09 08 01 10 01 22 03 08 ac 02"),
};
const RESPONSE = { session: 300, relay_host: "127.0.0.1", relay_port: "8002" };

const bodyOf = (bytes: Buffer): Buffer => bytes.subarray(4);

describe("messages of RelayServer", () => {
  it("are written as the original writes them", () => {
    expect(encodeHello({})).toEqual(GOLDEN.hello);
    expect(encodeHelloResponse(RESPONSE)).toEqual(GOLDEN.response);
    expect(encodeAnnouncement({ what: "open", session: 300 })).toEqual(GOLDEN.open);
    expect(encodeAnnouncement({ what: "drop", session: 300 })).toEqual(GOLDEN.drop);
  });

  it("are read as the original writes them", () => {
    expect(decodeHello(bodyOf(GOLDEN.hello))).toEqual({});
    expect(decodeHelloResponse(bodyOf(GOLDEN.response))).toEqual(RESPONSE);
    expect(decodeAnnouncement(bodyOf(GOLDEN.open))).toEqual({ what: "open", session: 300 });
    expect(decodeAnnouncement(bodyOf(GOLDEN.drop))).toEqual({ what: "drop", session: 300 });
  });

  it("write zeros too: the first session is 0", () => {
    expect(bodyOf(encodeAnnouncement({ what: "open", session: 0 }))).toEqual(
      hex("08 01 10 00 1a 02 08 00"),
    );
    expect(decodeAnnouncement(hex("08 01 10 01 22 02 08 00"))).toEqual({
      what: "drop",
      session: 0,
    });
  });

  it("carry service, owner and token where the original looks for nothing", () => {
    const message = Buffer.concat([whole(1, 1), field(11, "ssh"), field(12, "a"), field(13, "s3")]);
    const hello = { service: "ssh", owner: "a", token: "s3" };
    expect(bodyOf(encodeHello(hello))).toEqual(message);
    expect(decodeHello(message)).toEqual(hello);
  });

  it("may hold what a later version says", () => {
    expect(decodeHello(Buffer.concat([whole(1, 1), whole(99, 7), field(98, "new")]))).toEqual({});
    expect(decodeAnnouncement(Buffer.concat([whole(1, 1), whole(2, 9)]))).toBeUndefined();
  });

  it.each([
    ["a hello without its version", () => decodeHello(Buffer.alloc(0))],
    ["a hello of version 2", () => decodeHello(whole(1, 2))],
    ["a hello that is cut", () => decodeHello(hex("08"))],
    ["a response without a port", () => decodeHelloResponse(hex("08 00 12 01 61"))],
    ["a session below zero", () => decodeHelloResponse(negative())],
    ["an announcement of nothing", () => decodeAnnouncement(hex("08 01 10 00"))],
    ["an announcement without a type", () => decodeAnnouncement(hex("08 01 1a 02 08 00"))],
  ])("are not %s", (_, decode) => {
    expect(decode).toThrow(expect.objectContaining({ name: "Fault", fault: "malformed" }));
  });

  it("are read or refused with a fault, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        for (const decode of [decodeHello, decodeHelloResponse, decodeAnnouncement]) {
          try {
            decode(Buffer.from(bytes));
          } catch (reason) {
            expect(reason).toMatchObject({ name: "Fault", fault: "malformed" });
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

function negative(): Buffer {
  return Buffer.concat([whole(1, -1), field(2, "a"), field(3, "b")]);
}

describe("a stream of messages", () => {
  it("is cut in the same places, however it is segmented, and what is behind stays", () => {
    const { hello, response, open, drop } = GOLDEN;
    const messages = [hello, response, open, drop];
    const raw = Buffer.from("bytes of a client");
    const stream = Buffer.concat([...messages, raw]);
    const end = stream.length - raw.length;
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 80 }), (cuts) => {
        const all = new RelayMessages();
        const found: Buffer[] = [];
        const places = [0, ...cuts.sort((a, b) => a - b), stream.length];
        for (const [index, place] of places.entries()) {
          all.add(stream.subarray(place, places[index + 1] ?? place));
          while (found.length < messages.length) {
            const message = all.take();
            if (!message) break;
            found.push(message);
          }
        }
        expect(found).toEqual(messages.map(bodyOf));
        expect(all.rest()).toEqual(stream.subarray(end));
        expect(all.rest().length).toBe(0);
      }),
    );
  });

  it.each([
    ["HTTP", Buffer.from("G")],
    ["TLS", hex("16 03")],
    ["a large message", hex("00 00 04 01")],
    ["a larger one, seen early", hex("00 01")],
  ])("is no %s", (_, bytes) => {
    const all = new RelayMessages();
    all.add(bytes);
    expect(() => all.take()).toThrow(expect.objectContaining({ fault: "too_large" }));
  });

  it("may have a message of 1024 bytes, and waits for its last", () => {
    const all = new RelayMessages();
    all.add(Buffer.concat([hex("00 00 04 00"), Buffer.alloc(1_023, 5)]));
    expect(all.take()).toBeUndefined();
    all.add(Buffer.from([6]));
    expect(all.take()?.length).toBe(1_024);
  });
});
