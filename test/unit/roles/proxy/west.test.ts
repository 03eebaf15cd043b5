import { once } from "node:events";
import { createServer } from "node:net";
import { expect, it } from "vitest";
import { checkProxies } from "../../../../src/roles/proxy/check.ts";
import { ProxySettings } from "../../../../src/roles/proxy/settings.ts";

it("a site of west is checked: where it listens, and whether the sites that it dials are there", async () => {
  const there = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(there, "listening");
  const { port } = there.address() as { port: number };
  const settings = ProxySettings.parse({
    west: {
      west: { nm: "ws://l.example", cp: "127.0.0.1:1" },
      wstc: { [`ws://127.0.0.1:${port}`]: {}, "ws://127.0.0.1:2": {} },
      proxy: { "http://127.0.0.1:3": { ea: "ws://127.0.0.1:2", "/x": { ou: "http://h/x" } } },
    },
  });
  const found: string[] = [];
  for await (const { severity, what } of checkProxies(settings, new AbortController().signal))
    found.push(`${severity}: ${what}`);
  there.close();
  expect(found).toEqual([
    "note: nobody listens at west: west.cp (127.0.0.1:1)",
    "note: nobody listens at west: proxy: http://127.0.0.1:3 (127.0.0.1:3)",
    `ok: west: wstc: ws://127.0.0.1:${port} (127.0.0.1:${port}) answers`,
    "note: nobody listens at west: wstc: ws://127.0.0.1:2 (127.0.0.1:2)",
  ]);
});
