import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../support/until.ts";
import { ask, Origin, WestBed } from "../support/west-bed.ts";
import { WestStreamPeer } from "../support/west-stream-peer.ts";

const [DATA, END, RESET, WINDOW] = [0, 1, 2, 3];
const L = "ws://l.case2.example";
const STREAM_WINDOW = 64 * 1024;
const TUNNEL_WINDOW = 256 * 1024;
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

describe("a tunnel of version 2", () => {
  let bed: WestBed;
  let origin: Origin;
  let peer: WestStreamPeer;
  let answers: ServerResponse[];
  const dial = () => WestStreamPeer.dial(bed.port(9801), L);
  const asked = (path = "/pa", options = {}) => ask(bed.port(9931), path, options);
  const get = (path = "/"): string =>
    `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${origin.port}\r\n\r\n`;

  beforeEach(async () => {
    answers = [];
    bed = await WestBed.open("case-2", ({ west }) => {
      west.limits = { streams_max: 8 };
    });
    origin = await Origin.open(({ url }, response) => {
      answers.push(response);
      if (url === "/much") response.end(Buffer.alloc(2 ** 20, "m"));
      else if (url !== "/later") response.end("ok");
    });
    await bed.start("g");
    peer = await dial();
    await bed.connected();
  });

  afterEach(async () => {
    await peer[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
    await bed[Symbol.asyncDispose]();
  });

  it("serves what comes on even streams, in any pieces", async () => {
    const bytes = get();
    for (const letter of bytes) peer.say(DATA, 2, letter);
    peer.say(DATA, 4, get());
    await until(() => /ok$/.test(`${peer.bytes(2)}`) && /ok$/.test(`${peer.bytes(4)}`), "both");
    expect(`${peer.bytes(2)}`).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    peer.say(END, 2);
    await until(() => peer.count(END, 2) === 1, "it ends the other direction too");
    peer.say(DATA, 2, "late");
    peer.say(RESET, 2);
    peer.grant(2, 1);
    await peer.settled();
    expect(peer.isOpen).toBe(true);
  });

  it("asks on odd streams, each of which has its own answer and can break off by itself", async () => {
    const asking = [asked(), asked(), asked()];
    await until(() => [1, 3, 5].every((number) => peer.count(DATA, number) > 0), "all are asked");
    peer.say(DATA, 5, OK);
    peer.say(RESET, 3);
    peer.say(DATA, 1, OK.slice(0, 20));
    peer.say(DATA, 1, OK.slice(20));
    const statuses = (await Promise.all(asking)).map(({ status }) => status);
    expect(statuses.sort()).toEqual([200, 200, 503]);
    const again = asked();
    await until(() => peer.heard.filter(({ kind }) => kind === DATA).length === 4, "it is asked");
    const { stream = 0 } = peer.heard.filter(({ kind }) => kind === DATA).at(-1) ?? {};
    expect([1, 5]).toContain(stream); // kept from before
    peer.say(DATA, stream, OK);
    expect((await again).text).toBe("ok");
  });

  it("tells the other side when its client has gone", async () => {
    const stop = new AbortController();
    const asking = asked("/pa", { signal: stop.signal }).catch(() => "gone");
    await until(() => peer.count(DATA, 1) > 0, "it is asked");
    stop.abort();
    await until(() => peer.count(RESET, 1) === 1, "it is taken back");
    expect(await asking).toBe("gone");
  });

  it("leaves the server when the other side breaks off", async () => {
    peer.say(DATA, 2, get("/later"));
    await until(() => answers.length === 1, "it is asked");
    peer.say(RESET, 2);
    await until(() => answers[0]?.destroyed === true, "it is left");
    expect(peer.count(RESET, 2)).toBe(0);
  });

  it("sends as much as a stream may, and goes on when it may more", async () => {
    peer.say(DATA, 2, get("/much"));
    await until(() => peer.bytes(2).length >= STREAM_WINDOW, "it is full");
    peer.say(DATA, 4, get());
    await until(() => /ok$/.test(`${peer.bytes(4)}`), "another goes on");
    expect(peer.bytes(2)).toHaveLength(STREAM_WINDOW);
    peer.grant(2, 1_000);
    await until(() => peer.bytes(2).length >= STREAM_WINDOW + 1_000, "it may more");
    await peer.settled();
    expect(peer.bytes(2)).toHaveLength(STREAM_WINDOW + 1_000);
  });

  it("sends as much as all may together, in turns", async () => {
    const numbers = [2, 4, 6, 8, 10, 12];
    for (const number of numbers) peer.say(DATA, number, get("/much"));
    const sizes = () => numbers.map((number) => peer.bytes(number).length);
    const sum = () => sizes().reduce((one, other) => one + other);
    await until(() => sum() >= TUNNEL_WINDOW, "it is full");
    await peer.settled();
    expect(sum()).toBe(TUNNEL_WINDOW);
    for (const number of numbers) peer.grant(number, 2 ** 21);
    peer.grant(0, 2 ** 23);
    await until(() => sizes().every((size) => size > 2 ** 20), "all come");
  });

  it("gives back what was read of a body, and of all", async () => {
    const body = Buffer.alloc(2 ** 20, "x");
    let [may, mayAll] = [STREAM_WINDOW, TUNNEL_WINDOW];
    const head = `POST / HTTP/1.1\r\nhost: 127.0.0.1:${origin.port}\r\ncontent-length: ${body.length}\r\n\r\n`;
    const all = Buffer.concat([Buffer.from(head), body]);
    let sent = 0;
    let heard = 0;
    while (sent < all.length) {
      for (; heard < peer.heard.length; heard += 1) {
        const { kind, stream, body: size } = peer.heard[heard] ?? {};
        if (kind === WINDOW && stream === 2) may += size?.readUInt32BE() ?? 0;
        if (kind === WINDOW && stream === 0) mayAll += size?.readUInt32BE() ?? 0;
      }
      const size = Math.min(may, mayAll, 10_000, all.length - sent);
      if (size > 0) peer.say(DATA, 2, all.subarray(sent, sent + size));
      [may, mayAll, sent] = [may - size, mayAll - size, sent + size];
      await peer.settled();
    }
    await until(() => /ok$/.test(`${peer.bytes(2)}`), "it is answered");
  });

  it("breaks off streams beyond those that it serves, and serves the others", async () => {
    for (let number = 2; number <= 16; number += 2) peer.say(DATA, number, get("/later"));
    await until(() => answers.length === 8, "all are asked");
    peer.say(DATA, 18, get());
    await until(() => peer.count(RESET, 18) === 1, "it is broken off");
    peer.say(RESET, 2);
    await until(() => answers.some(({ destroyed }) => destroyed), "one is over");
    peer.say(DATA, 20, get());
    await until(() => /ok$/.test(`${peer.bytes(20)}`), "there is room again");
  });

  it.each<[string, (peer: WestStreamPeer) => void]>([
    ["nothing", ({ socket }) => socket.send(Buffer.alloc(0))],
    ["less than a head", ({ socket }) => socket.send(Buffer.from([0, 0, 0, 2]))],
    ["what is of no kind", (each) => each.say(4, 2)],
    ["data of no stream", (each) => each.say(DATA, 0, "x")],
    ["an end of no stream", (each) => each.say(END, 0)],
    ["an end with more in it", (each) => each.say(END, 2, "x")],
    ["a window of three bytes", (each) => each.say(WINDOW, 2, "123")],
    ["a frame of a stream that the other side has not opened", (each) => each.say(DATA, 9, "x")],
    [
      "something after its end",
      (each) => {
        each.say(DATA, 2, get("/later"));
        each.say(END, 2);
        each.say(DATA, 2, "x");
      },
    ],
    ["more than a stream may", (each) => each.say(DATA, 2, Buffer.alloc(STREAM_WINDOW + 1))],
    [
      "windows wider than there are",
      (each) => {
        each.say(DATA, 2, "GET ");
        each.grant(2, 2 ** 31);
      },
    ],
    ["a window for all that is wider than there are", (each) => each.grant(0, 2 ** 31)],
    [
      "streams that it breaks off, without end",
      (each) => {
        for (let i = 1; i <= 1_000; i += 1) {
          each.say(DATA, 2 * i, "G");
          each.say(RESET, 2 * i);
        }
      },
    ],
    [
      "streams beyond those that are served, without end",
      (each) => {
        for (let i = 1; i <= 1_008; i += 1) each.say(DATA, 2 * i, "G");
      },
    ],
  ])("is cut when the other side sends %s, and dialled again", async (_, misbehave) => {
    misbehave(peer);
    await until(() => !peer.isOpen, "it is cut");
    peer = await dial();
    await bed.connected();
    peer.say(DATA, 2, get());
    await until(() => /ok$/.test(`${peer.bytes(2)}`), "the next one is served");
  });
});
