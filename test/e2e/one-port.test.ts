import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { Program } from "../../src/roles/dev/processes.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import { CameoPeers, hears, responderName } from "../support/cameo.ts";
import { DOMAIN } from "../support/passthrough.ts";
import { eventually, foundTown, GATEWAY, settingsWithCertificates } from "../support/town.ts";

const { signal } = new AbortController();
const NAME = responderName("adder", 1);

/**
 * A public proxy of which only one port is open to the world, with every door there is, and a site behind a
 * firewall that only dials out: its private proxy, its own switch and its end of a tunnel are one process too.
 */
describe("a public proxy with one port", () => {
  let settings: AsyncDisposable & { folder: string };
  let town: Town;
  let origin: Server;
  let peers: CameoPeers;
  /** `one` is the only port that is dialled from elsewhere; the others are near those who use them. */
  const port: Record<string, number> = {};
  const programs: Program[] = [];

  beforeAll(async () => {
    settings = await settingsWithCertificates();
    town = await foundTown(settings.folder);
    const names = ["command", "client", "listener", "internal", "there", "heard"];
    const inside = ["responder", "publisher", "own", "tls"];
    const free = await freePorts(names.length + inside.length);
    for (const [i, name] of [...names, ...inside].entries()) port[name] = free[i] ?? 0;
    port["one"] = town.port(4433);
    origin = createServer((request, reply) => reply.end(`the origin: ${request.url}`));
    origin.listen(0, "127.0.0.1");
    await once(origin, "listening");
    port["origin"] = (origin.address() as { port: number }).port;
    await writePublic();
    await writePrivate();
    await Promise.all([
      ...["sd-1", "public-proxy-eps-1", "private-proxy-eps-1", "hd-1"].map((r) => town.start(r)),
      start("public-proxy-1", ["all"], town.settings("public-proxy-1")),
    ]);
    const relay = `localhost:${port["one"]},${port["command"]}`;
    await Promise.all([
      town.setUp(),
      start("private-proxy-1", ["all"], town.settings("private-proxy-1")),
      start("agent", ["agent", "--relay", relay, "--forward", `localhost:${port["origin"]}`]),
    ]);
  }, 60_000);
  afterAll(async () => {
    await Promise.all(programs.map((program) => program.stop()));
    origin?.close();
    await town?.[Symbol.asyncDispose]();
    await settings?.[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    peers = new CameoPeers();
  });
  afterEach(() => peers[Symbol.dispose]());

  async function writePublic(): Promise<void> {
    const file = join(town.settings("public-proxy-1"), "001_default.yml");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replaceAll(`:${town.port(9999)}`, `:${port["one"]}`));
    const here = `localhost:${port["one"]}`;
    const more = {
      pools: [
        {
          name: "web",
          data_bind_address: here,
          command_bind_address: `localhost:${port["command"]}`,
          client_bind_address: `localhost:${port["client"]}`,
        },
      ],
      west: {
        west: { nm: "ws://g.example" },
        wsts: { sp: `ws://${here}` },
        proxy: {
          [`http://localhost:${port["listener"]}`]: {
            en: "ws://l.example",
            "/x": { ou: `http://localhost:${port["origin"]}/tunnelled` },
          },
        },
      },
      zeromq: {
        proxy_ports: [port["one"], port["one"], port["internal"]].join(),
        host: "localhost",
      },
    };
    await writeFile(join(town.settings("public-proxy-1"), "002_site.yml"), stringify(more));
  }

  async function writePrivate(): Promise<void> {
    const file = (name: string): string => join(town.certs, name);
    const more = {
      private: { "internal_endpoint!": { address: `localhost:${port["tls"]}` } },
      west: {
        west: { nm: "ws://l.example" },
        wstc: { [`ws://localhost:${port["one"]}`]: {} },
      },
      zeromq: {
        proxy_ports: [port["responder"], port["publisher"], port["own"]].join(),
        host: "localhost",
        tls_bind_address: `localhost:${port["tls"]}`,
        tls: {
          ca_certificate_files: [file("root.crt")],
          certificate_file: file("internal-server.crt"),
          key_file: file("internal-server.key"),
        },
      },
    };
    await writeFile(join(town.settings("private-proxy-1"), "002_site.yml"), stringify(more));
  }

  async function start(name: string, flags: string[], PROXY_SETTINGS = ""): Promise<Program> {
    const env = { ...process.env, PROXY_SETTINGS };
    const argv = ["proxy", "run", ...flags];
    const program = new Program(name, { argv, env, logs: town.folder, keep: false });
    programs.push(program);
    const ready = { what: "ready", within_ms: 30_000 };
    await program.said(
      ({ msg }) => msg === "ready" || msg === "waiting for clients",
      ready,
      signal,
    );
    return program;
  }

  const get = async (at: string): Promise<string> =>
    await (await fetch(`http://127.0.0.1:${at}`)).text();

  it("is enough for an agent of a pool and for a tunnel", async () => {
    await eventually(15_000, async () => {
      expect(await get(`${port["client"]}/pooled`)).toBe("the origin: /pooled");
      expect(await get(`${port["listener"]}/x`)).toBe("the origin: /tunnelled");
    });
  });

  it("is both public ports of a switch", async () => {
    const { one = 0, internal = 0 } = port;
    peers.responder(one, NAME, ([what = ""]) => [[`heard ${what}`]]);
    const requester = peers.requester(one);
    await requester.sync(NAME);
    expect(String(await requester.ask(NAME, "by one port"))).toBe("heard by one port");
    await hears(peers.subscriber(one, "t"), peers.publisher(internal), ["t", "news"]);
  });

  it("brings those who ask for its name to a switch behind a firewall, inside TLS", async () => {
    const params = { domain: DOMAIN, proxy: "public-proxy-1.ga", expires_at: null };
    const method = "private-proxy-1.ga.announceConnection";
    await eventually(15_000, async () => {
      const asking = { role: "hd-1", port: GATEWAY["hd-1"] };
      expect(await town.call(asking, { method, params })).toEqual({ result: "ok" });
    });
    const { one = 0, responder = 0, own = 0, there = 0, heard = 0 } = port;
    const papers = ["--ca", "root.crt", "--cert", "hd-1.crt", "--key", "hd-1.key"];
    const files = papers.map((each) => (each.startsWith("--") ? each : join(town.certs, each)));
    const through = ["--through", `localhost:${one}`, "--server-name", DOMAIN, ...files];
    await start("link", ["zeromq", ...through, "--ports", `${there},${heard}`]);
    peers.responder(responder, NAME, ([what = ""]) => [[`inside: ${what}`]]);
    const requester = peers.requester(there);
    await requester.sync(NAME);
    expect(String(await requester.ask(NAME, "by name"))).toBe("inside: by name");
    await hears(peers.subscriber(heard, "t"), peers.publisher(own), ["t", "news"]);
    peers[Symbol.dispose]();
    const ended = await programs
      .find(({ name }) => name === "public-proxy-1")
      ?.said(
        ({ msg, caller }) => msg === "circuit ended" && caller === DOMAIN,
        { what: "done with the circuit", within_ms: 10_000 },
        signal,
      );
    expect(ended).toMatchObject({ door: "sni", callee: "private-proxy-1.ga" });
  });
});
