import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Authority } from "../support/certificates.ts";
import { until } from "../support/until.ts";
import { ask, type Edit, Origin, WestBed } from "../support/west-bed.ts";
import { envelopeOf, WestPeer, WestPeerServer } from "../support/west-peer.ts";

const open: AsyncDisposable[] = [];
const L = "ws://l.case2.example";

afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

function use<T extends AsyncDisposable>(thing: T): T {
  open.push(thing);
  return thing;
}

/** The site of case 2 with the client, and a way to dial it as an original would. */
async function siteG(edit: Edit = () => {}) {
  const bed = use(await WestBed.open("case-2", edit));
  await bed.start("g");
  const dial = async (name = L, address = "127.0.0.1") => {
    const peer = await WestPeer.dial(bed.port(9801), name, address);
    use({ [Symbol.asyncDispose]: async () => peer.socket.terminate() });
    return peer;
  };
  const asked = (path = "/pa", options = {}) => ask(bed.port(9931), path, options);
  return { bed, dial, asked };
}

const HELLO = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async function refusal(port: number, options: object): Promise<number | undefined> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, options);
  socket.on("error", () => {});
  const [, answer] = await once(socket, "unexpected-response");
  answer.resume();
  return answer.statusCode;
}

describe("a tunnel of version 1", () => {
  it("asks in the original's words, and passes what is answered", async () => {
    const { bed, dial, asked } = await siteG();
    const peer = await dial();
    peer.answer = () =>
      "HTTP/1.0 404 Not Here\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 7\r\n\r\nnothing";
    const heard = await asked("/pa?q=1", { headers: { "X-Mixed": "AbC" } });
    expect(heard).toMatchObject({ status: 404, reason: "Not Here", text: "nothing" });
    expect(heard.headers["set-cookie"]).toEqual(["a", "b"]);
    const [{ envelope, head, body } = { envelope: "", head: "", body: "" }] = peer.heard;
    expect(envelope).toMatch(
      /^TransactionOrigin: ws:\/\/g\.case2\.example\r\nTransactionID: [\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}\r\nX-Proxy-Protocol: http$/,
    );
    expect(head).toMatch(
      new RegExp(`^GET /a\\?q=1 HTTP/1\\.1\r\nhost: 127\\.0\\.0\\.1:${bed.port(9941)}\r\n`),
    );
    expect(head).toContain("\r\nx-mixed: AbC");
    expect(head).not.toMatch(/connection|transfer-encoding/);
    expect(body).toBe("");
  });

  it("sends a body with its length, and gives each answer to the request it belongs to", async () => {
    const { dial, asked } = await siteG();
    const peer = await dial();
    const asking = ["one", "two", "three"].map((body) => asked("/pa", { method: "POST", body }));
    await until(() => peer.heard.length === 3, "all have come");
    for (const { envelope, head, body } of [...peer.heard].reverse()) {
      expect(head).toContain(`\r\ncontent-length: ${body.length}`);
      peer.say(envelope, `HTTP/1.1 200 OK\r\n\r\nyou said ${body}`);
    }
    expect((await Promise.all(asking)).map(({ text }) => text)).toEqual([
      "you said one",
      "you said two",
      "you said three",
    ]);
  });

  it("fetches for whoever asks, and echoes the envelope", async () => {
    const { dial } = await siteG();
    const origin = use(
      await Origin.open((_, response) => response.end(Buffer.from([0, 255, 128]))),
    );
    const peer = await dial();
    const id = peer.ask(L, `GET /x HTTP/1.1\r\nhost: 127.0.0.1:${origin.port}\r\nx: y\r\n\r\n`);
    await until(() => peer.heard.length === 1, "it is answered");
    expect(peer.heard[0]).toMatchObject({
      envelope: envelopeOf(L, id),
      head: expect.stringMatching(/^HTTP\/1\.1 200 OK\r\n(.*\r\n)*content-length: 3/),
      body: "\x00\xff\x80",
    });
    peer.ask(L, "GET /x HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n");
    await until(() => peer.heard.length === 2, "it is answered that nobody is there");
    expect(peer.heard[1]?.head).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("leaves a server that goes on and on when nobody waits for its answer any more", async () => {
    const { dial } = await siteG(({ west }) => {
      west.limits = { timeout: 0.5 };
    });
    let isLeft = false;
    const origin = use(
      await Origin.open((_, response) => {
        const timer = setInterval(() => response.write("."), 50);
        response.once("close", () => {
          isLeft = true;
          clearInterval(timer);
        });
      }),
    );
    const peer = await dial();
    peer.ask(L, `GET / HTTP/1.1\r\nhost: 127.0.0.1:${origin.port}\r\n\r\n`);
    await until(() => peer.heard.length === 1, "it is answered");
    expect(peer.heard[0]?.head).toMatch(/^HTTP\/1\.1 504 /);
    await until(() => isLeft, "the server is left");
  });

  it("gives nobody the answer to what another tunnel was asked", async () => {
    const { dial, asked } = await siteG();
    const rogue = await dial("ws://rogue.example");
    const peer = await dial();
    const asking = asked();
    await until(() => peer.heard.length === 1, "the right one is asked");
    const [{ envelope } = { envelope: "" }] = peer.heard;
    rogue.say(envelope, "HTTP/1.1 200 OK\r\n\r\nforged");
    await new Promise((resolve) => rogue.socket.once("pong", resolve).ping());
    peer.say(envelope, HELLO);
    expect((await asking).text).toBe("ok");
  });

  it("survives every message that is none", async () => {
    const { bed, dial, asked } = await siteG();
    const peer = await dial();
    const id = "1e46589c-8ed8-427a-b3cb-c0ce947d25bd";
    const bad = [
      ["", ""],
      ["TransactionID: 1", "GET / HTTP/1.1\r\n\r\n"],
      [envelopeOf(L, id), "GET / HTTP/1.1"],
      [envelopeOf(L, id), "GET / HTTP/2.0\r\n\r\n"],
      [envelopeOf(L, id), "GET / HTTP/1.1\r\n folded: x\r\n\r\n"],
      [envelopeOf(L, id), "GET / HTTP/1.1\r\na b: x\r\n\r\n"],
      [envelopeOf(L, id), "GET / HTTP/1.1\r\nhost: a\nb: x\r\n\r\n"],
      [`${envelopeOf(L, id)}\r\nTransactionID: 2`, "GET / HTTP/1.1\r\n\r\n"],
    ] as const;
    for (const [envelope, message] of bad) peer.say(envelope, message);
    peer.answer = () => HELLO;
    expect((await asked()).text).toBe("ok");
    const told = bed.lines.filter(({ msg }) => msg === "a message of a tunnel makes no sense");
    expect(told).toHaveLength(bad.length);
  });

  it("refuses what a message cannot carry", async () => {
    const { dial, asked } = await siteG(({ west }) => {
      west.limits = { message_max: 10_000 };
    });
    const peer = await dial();
    peer.answer = () => HELLO;
    expect((await asked("/pa", { method: "POST", body: "x".repeat(20_000) })).status).toBe(413);
    const upgrade = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    expect((await asked("/pa", { headers: upgrade })).status).toBe(501);
    expect(peer.heard).toHaveLength(0);
  });

  it("dials a server that chooses no version, by the name that it was given", async () => {
    const server = use(new WestPeerServer());
    const bed = use(
      await WestBed.open("case-1", (configuration, site) => {
        if (site !== "l") return;
        configuration.wstc = { [`ws://127.0.0.1:${server.port}`]: { nm: "ws://special.example" } };
        for (const listener of Object.values<{ ea: string }>(configuration.proxy)) {
          listener.ea = `ws://127.0.0.1:${server.port}`;
        }
      }),
    );
    await bed.start("l");
    await bed.connected();
    const peer = server.peers.at(-1) as WestPeer;
    peer.answer = () => Buffer.from("HTTP/1.1 200 OK\r\n\r\n\xff\x00", "latin1");
    expect((await ask(bed.port(9911), "/px")).body).toEqual(Buffer.from([255, 0]));
    expect(server.origins.at(-1)).toBe("ws://special.example");
    expect(peer.heard[0]?.envelope).toContain("TransactionOrigin: ws://special.example");
  });
});

describe("tunnels", () => {
  it("answer 503 while they are away, and come back in any order", async () => {
    const bed = use(await WestBed.open("case-2"));
    use(await Origin.open((_, response) => response.end("here"), bed.port(9941)));
    await bed.start("l");
    await bed.start("g");
    await bed.connected();
    expect((await ask(bed.port(9931), "/pa")).text).toBe("here");
    await bed.stop("l");
    expect((await ask(bed.port(9931), "/pa")).status).toBe(503);
    await bed.start("l");
    await bed.connected();
    expect((await ask(bed.port(9931), "/pa")).text).toBe("here");
    await bed.stop("g");
    await bed.start("g");
    const before = performance.now();
    await bed.connected();
    expect(performance.now() - before).toBeLessThan(10_000);
    expect((await ask(bed.port(9931), "/pa")).text).toBe("here");
  });

  it("are dialled by the first request where ee is no, which waits for that", async () => {
    const bed = use(
      await WestBed.open("case-1", ({ wstc }) => {
        for (const plan of Object.values<{ ee: string }>(wstc)) plan.ee = "no";
      }),
    );
    use(await Origin.open((_, response) => response.end("here"), bed.port(9921)));
    await bed.start("l");
    const waiting = ask(bed.port(9911), "/px");
    await until(
      () => bed.lines.some(({ msg }) => msg === "no tunnel, and tried again"),
      "it is tried",
    );
    await bed.start("g");
    expect((await waiting).text).toBe("here");
    expect(bed.lines.filter(({ msg, site }) => msg === "tunnel open" && site === "g")).toHaveLength(
      1,
    );
  });

  it("of one name serve in turn: the newest, then the others", async () => {
    const { dial, asked } = await siteG();
    const [older, newer] = [await dial(), await dial()];
    older.answer = () => "HTTP/1.1 200 OK\r\n\r\nolder";
    newer.answer = () => "HTTP/1.1 200 OK\r\n\r\nnewer";
    expect((await asked()).text).toBe("newer");
    newer.socket.terminate();
    await until(async () => (await asked()).text === "older", "the older one serves");
    older.socket.terminate();
    await until(async () => (await asked()).status === 503, "there is none");
  });

  it("end when pings are not answered", async () => {
    const { bed, dial, asked } = await siteG(({ west }) => {
      west.limits = { ping_interval: 0.05 };
    });
    const peer = await dial();
    const why = () => bed.lines.find(({ msg }) => msg === "tunnel ended")?.["why"];
    await once(peer.socket, "ping");
    peer.socket.pause();
    await until(() => why() !== undefined, "it is given up");
    expect(why()).toBe("3 pings were not answered");
    expect((await asked()).status).toBe(503);
  });

  it("refuse whoever is not on the list, has no proof, or takes another's name", async () => {
    const { bed, dial } = await siteG(({ wsts, west }) => {
      wsts.ca = ["ws://*.example", "127.0.0.9"];
      wsts.tokens = { "ws://proved.example": "a-secret-token" };
      west.limits = { tunnels_per_name_max: 1 }; // of each
    });
    const port = bed.port(9801);
    expect(await refusal(port, { origin: "ws://stranger.org" })).toBe(403);
    expect(await refusal(port, { origin: "ws://proved.example" })).toBe(401);
    const wrong = { Authorization: "Bearer another-token" };
    expect(await refusal(port, { origin: "ws://proved.example", headers: wrong })).toBe(401);
    await dial("ws://stranger.org", "127.0.0.9");
    const proved = new WebSocket(`ws://127.0.0.1:${port}`, {
      origin: "ws://proved.example",
      headers: { Authorization: "Bearer a-secret-token" },
    });
    await once(proved, "open");
    proved.terminate();
    await dial(L);
    expect(await refusal(port, { origin: L, localAddress: "127.0.0.2" })).toBe(409);
    expect(await refusal(port, { origin: L })).toBe(503);
    expect(JSON.stringify(bed.lines)).not.toContain("a-secret-token");
    const plain = await ask(port, "/");
    expect(plain.status).toBe(426);
  });

  it("fetch only from targets, and a stranger nothing that is nearer than he is", async () => {
    const { dial } = await siteG(({ wsts }) => {
      wsts.targets = { "ws://listed.example": ["127.0.0.1:1", "localhost"] };
    });
    const origin = use(await Origin.open((_, response) => response.end("inside")));
    const status = async (name: string, host: string) => {
      const peer = await dial(name);
      peer.ask(name, `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
      await until(() => peer.heard.length === 1, "it is answered");
      peer.socket.terminate();
      return Number(peer.heard[0]?.head.slice(9, 12));
    };
    expect(await status("ws://free.example", `127.0.0.1:${origin.port}`)).toBe(200);
    expect(await status("ws://listed.example", `127.0.0.1:${origin.port}`)).toBe(403);
    expect(await status("ws://listed.example", `localhost:${origin.port}`)).toBe(200);
    for (const never of [
      "169.254.169.254",
      "0.0.0.0",
      "[::ffff:169.254.169.254]",
      "[::ffff:a9fe:a9fe]",
      "224.0.0.1",
    ]) {
      expect(await status("ws://free.example", `${never}:80`), never).toBe(403);
    }
    for (const none of [
      "",
      "a b",
      "127.0.0.1:99999",
      "127.0.0.1:0",
      "a@127.0.0.1",
      "127.0.0.1/x",
    ]) {
      expect(await status("ws://free.example", none), none).toBe(400);
    }
  });
});

describe("a tunnel over TLS", () => {
  it("proves a name by a certificate, and is refused to whoever has none", async () => {
    const authority = use(await Authority.open());
    const [server, own] = [
      await authority.issue("g.case2.example"),
      await authority.issue("l.case2.example"),
    ];
    const bed = use(
      await WestBed.open("case-2", ({ wsts, wstc }, site) => {
        if (site === "g") {
          wsts.sp = wsts.sp.replace("ws:", "wss:");
          wsts.tls = { ...server, verify_client: false, request_client_cert: true };
          wsts.tokens = { [L]: "nobody-knows-this" };
          return;
        }
        for (const [url, plan] of Object.entries<object>(wstc)) {
          delete wstc[url];
          wstc[url.replace("ws:", "wss:")] = {
            ...plan,
            tls: { ...own, server_name: "g.case2.example" },
          };
        }
      }),
    );
    use(await Origin.open((_, response) => response.end("secured"), bed.port(9941)));
    await bed.startAll();
    expect((await ask(bed.port(9931), "/pa")).text).toBe("secured");
    const {
      ca_certificate_files: [ca = ""],
    } = authority.nobody();
    const names = { origin: L, servername: "g.case2.example" };
    const options = { ...names, ca: await readFile(ca) };
    const socket = new WebSocket(`wss://127.0.0.1:${bed.port(9801)}`, options);
    socket.on("error", () => {});
    const [, answer] = await once(socket, "unexpected-response");
    expect(answer.statusCode).toBe(401);
    answer.resume();
  });
});

describe("a listener", () => {
  it("lets in whom its list names, and nobody else", async () => {
    const { dial, bed, asked } = await siteG(({ proxy }) => {
      for (const listener of Object.values<Record<string, { ca: string[] }>>(proxy))
        Object.assign(listener["/pa"] ?? {}, { ca: ["127.0.0.2/32"] });
    });
    (await dial()).answer = () => HELLO;
    expect((await asked()).status).toBe(403);
    const socket = connect({ port: bed.port(9931), host: "127.0.0.1", localAddress: "127.0.0.2" });
    socket.write("GET /pa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  it("passes no request twice", async () => {
    const bed = use(
      await WestBed.open("case-3", ({ proxy }, site) => {
        if (site !== "g") return;
        const [[url, listener] = ["", {}]] = Object.entries<Record<string, { ou: string }>>(proxy);
        Object.assign(listener["/by"] ?? {}, { ou: `${url}/by` });
      }),
    );
    await bed.startAll();
    const { status } = await ask(bed.port(9951), "/bx");
    expect(status).toBe(508);
    expect(
      bed.lines.filter(({ msg, side }) => msg === "exchange ended" && side === "listener"),
    ).toHaveLength(3);
  });
});

describe("the control page", () => {
  it("is the original's, byte for byte, with what goes on now", async () => {
    const { bed, dial, asked } = await siteG();
    const page = async () => {
      const socket = connect(bed.port(9701), "127.0.0.1");
      socket.write("GET /anything HTTP/1.1\r\nHost: x\r\n\r\n");
      return await text(socket);
    };
    const expected = (so: string, { rxc, rxs, txc, txs }: Record<string, number>) =>
      `HTTP/1.0 200 OK\r\n\r
--- west object ---
{
    "addr":"127.0.0.1",
    "cp":"127.0.0.1:${bed.port(9701)}",
    "nm":"ws://g.case2.example",
    "port":${bed.port(9701)}
}
--- wsts object ---
{
    "addr":"127.0.0.1",
    "port":${bed.port(9801)},
    "sp":"ws://127.0.0.1:${bed.port(9801)}"
}
--- wstc object ---
{
    "ws://l.case2.example":{
        "ee":"no",
        "nm":"ws://g.case2.example",
        "rxc":${rxc},
        "rxs":${rxs},
        "so":${so},
        "txc":${txc},
        "txs":${txs}
    }
}
--- proxy object ---
{
    "http://127.0.0.1:${bed.port(9931)}":{
        "/pa":{
            "ou":"http://127.0.0.1:${bed.port(9941)}/a"
        },
        "addr":"127.0.0.1",
        "en":"ws://l.case2.example",
        "port":${bed.port(9931)}
    }
}
`;
    const none = { rxc: 0, rxs: 0, txc: 0, txs: 0 };
    expect(await page()).toBe(expected('"unconnected"', none));
    const peer = await dial();
    let received = 0;
    let sent = 0;
    peer.socket.on("message", (data) => {
      received += (data as Buffer).length;
    });
    peer.answer = ({ envelope }) => {
      sent += envelope.length + 4 + HELLO.length;
      return HELLO;
    };
    await asked();
    const port = (peer.socket as unknown as { _socket: { localPort: number } })._socket.localPort;
    const so = `[\n            "127.0.0.1",\n            ${port}\n        ]`;
    expect(await page()).toBe(expected(so, { rxc: 1, rxs: sent, txc: 1, txs: received }));
    const json = JSON.parse((await ask(bed.port(9701), "/status.json")).text);
    expect(json.wstc["ws://l.case2.example"]).toMatchObject({ rxc: 1, so: ["127.0.0.1", port] });
    peer.socket.terminate();
    await until(async () => (await page()) === expected('"unconnected"', none), "it is gone");
  });
});
