import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Program } from "../../src/roles/dev/processes.ts";
import { Sites } from "../../src/roles/dev/west.ts";
import { describeWith } from "../support/tools.ts";
import { until } from "../support/until.ts";
import { ask, Origin } from "../support/west-bed.ts";

const run = promisify(execFile);
const { signal } = new AbortController();
/** Far more than any request may take here; one that hangs takes longer. */
const HANGS_MS = 12_000;

describeWith(["curl", "wget", "python3"], "sites of west as processes", () => {
  let sites: Sites;
  let origin: Origin;
  const url = (): string => `http://127.0.0.1:${sites.port(9951)}/bx`;

  beforeAll(async () => {
    sites = await Sites.found("settings/dev/west/case-3");
    for (const site of ["l", "g", "l2"]) {
      const file = join(sites.folder, `${site}.json`);
      const configuration = JSON.parse(await readFile(file, "utf8"));
      configuration.west.limits = { timeout: 3 };
      await writeFile(file, JSON.stringify(configuration));
    }
    origin = await Origin.open(async (request, response) => {
      let size = 0;
      for await (const chunk of request) size += chunk.length;
      if (request.url === "/b?move") response.writeHead(302, { location: url() });
      response.end(`${request.method} ${size}`);
    }, sites.port(9971));
    await sites.startAll(signal);
  });

  afterAll(async () => {
    await sites[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  const PYTHON = `
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
out = []
for method, body in (("GET", None), ("PUT", b"x" * 70000), ("DELETE", None)):
    c.request(method, "/bx", body)
    out.append(c.getresponse().read().decode())
c.request("POST", "/bx", iter([b"ab", b"cde"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
out.append(c.getresponse().read().decode())
print(",".join(out))`;

  it("serve curl, wget and Python's client, which keeps its connection", async () => {
    const told = async (program: string, ...args: string[]) =>
      (await run(program, args)).stdout.trim();
    const [curl, redirected, posted, wget, python] = await Promise.all([
      told("curl", "-sf", url()),
      told("curl", "-sfL", `${url()}?move`),
      told(
        "curl",
        "-sf",
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Expect: 100-continue",
        "-d",
        "hello",
        url(),
      ),
      told("wget", "-q", "-O", "-", url()),
      told("python3", "-c", PYTHON, `${sites.port(9951)}`),
    ]);
    expect({ curl, redirected, posted, wget, python }).toEqual({
      curl: "GET 0",
      redirected: "GET 0",
      posted: "POST 5",
      wget: "GET 0",
      python: "GET 0,PUT 70000,DELETE 0,POST 5",
    });
    expect(await told("wget", "-q", "-O", "-", `http://127.0.0.1:${sites.port(9701)}`)).toContain(
      "--- wstc object ---",
    );
  });

  it.each(
    ["l", "g", "l2", "l g", "g l", "g l2", "l2 g"].map(
      (order) => [order, order.split(" ")] as const,
    ),
  )(
    "answer or refuse while %s are killed, and work again when they are started in this order",
    async (_, killed) => {
      const statuses = new Set<number>();
      let stop = false;
      let slowest = 0;
      const load = Array.from({ length: 4 }, async () => {
        while (!stop) {
          const began = performance.now();
          const { status } = await ask(sites.port(9951), "/bx").catch(() => ({ status: 0 }));
          slowest = Math.max(slowest, performance.now() - began);
          statuses.add(status);
        }
      });
      const programs = killed.map((site) => sites.program(site));
      await Promise.all(programs.map((program) => program.stop("SIGKILL")));
      for (const site of killed) await sites.start(site, signal);
      await until(async () => {
        const { status } = await ask(sites.port(9951), "/bx").catch(() => ({ status: 0 }));
        return status === 200;
      }, "requests come through again");
      stop = true;
      await Promise.all(load);
      expect(slowest).toBeLessThan(HANGS_MS);
      // 0 is a client whose own site was killed: nobody is left who could answer.
      const proper = killed.includes("l") ? [0, 200, 502, 503, 504] : [200, 502, 503, 504];
      expect(proper).toEqual(expect.arrayContaining([...statuses]));
    },
  );

  it("run from a section of the settings, and say how they are", async () => {
    const file = join(sites.folder, "west.yml");
    await writeFile(
      file,
      `metrics:\n  bind_address: 127.0.0.1:0\nwest:\n  west: {nm: "ws://m.example"}\n  proxy:\n    http://127.0.0.1:0:\n      ea: ws://127.0.0.1:1\n      /x: {ou: "http://127.0.0.1:1/"}\n`,
    );
    const argv = ["proxy", "run", "west"];
    const env = { ...process.env, PROXY_SETTINGS: file };
    const program = new Program("m", { argv, env, logs: join(sites.folder, "logs"), keep: false });
    const what = { what: "ready", within_ms: 20_000 };
    const ready = await program.said(({ msg }) => msg === "ready", what, signal);
    expect(ready).toMatchObject({ name: "ws://m.example", dials: ["ws://127.0.0.1:1"] });
    expect(await program.stop()).toBe(0);
    const wrong = run("node", ["dist/bin/proxy.js", "run", "west", "-c", file]);
    await expect(wrong).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining("metrics: is none of west, wsts, wstc, proxy"),
    });
  });
});
