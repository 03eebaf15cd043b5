import { once } from "node:events";
import { createServer as createHttpServer, type Server } from "node:http";
import { createServer } from "node:net";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { silent } from "../../../../src/core/log.ts";
import { openMetrics } from "../../../../src/core/metrics.ts";
import { Scope } from "../../../../src/core/scope.ts";
import { Circuits } from "../../../../src/relay/circuits.ts";
import { RelayEvents } from "../../../../src/relay/events.ts";
import { openStreamEngine } from "../../../../src/relay/stream/engine.ts";
import { openTarget } from "../../../../src/roles/proxy/targets.ts";
import { RpcEvents } from "../../../../src/rpc/events.ts";
import { Authority } from "../../../support/certificates.ts";
import { circuitLimits } from "../../../support/engines.ts";
import { until } from "../../../support/until.ts";

const NAME = "shop.example";
const VISIT = { domain: NAME, request: "V1StGXR8_Z" };

let scope = new Scope();
afterEach(async () => {
  await scope[Symbol.asyncDispose]();
  scope = new Scope();
});

async function portOf(server: Server | ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  scope.defer(() => server.close());
  return (server.address() as { port: number }).port;
}

const engine = openStreamEngine();

describe("a private proxy that ends TLS", () => {
  it("shows a renewed certificate to the next client, and serves the present one on", async () => {
    const deps = { log: silent, metrics: openMetrics() };
    const authority = scope.use(await Authority.open());
    const inside = await portOf(createHttpServer((_, response) => response.end("from inside")));
    const tls = { ...(await authority.issue(NAME)), verify_client: false };
    const target = scope.use(
      await openTarget(
        {
          name: "private-proxy-1.ga",
          internal_endpoint: {
            address: `127.0.0.1:${inside}`,
            tls,
            jsonrpc_path: "/jsonrpc",
            timeout: 30,
          },
        },
        {
          engine,
          circuits: scope.use(
            new Circuits(circuitLimits({ circuits_max: 1, drain_timeout_ms: 0 }), {
              engine,
              events: new RelayEvents(deps),
            }),
          ),
          rpc: new RpcEvents(deps),
          log: silent,
        },
      ),
    );
    const port = await portOf(createServer((socket) => void target.take(socket, VISIT)));
    const dial = async () => {
      const client = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
      scope.defer(() => client.destroy());
      await once(client, "secureConnect");
      return { client, shown: client.getPeerCertificate().fingerprint256 };
    };
    const before = await dial();
    await authority.issue(NAME);
    await until(async () => (await dial()).shown !== before.shown, "another certificate is shown");
    before.client.write(`GET / HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`);
    expect(await text(before.client)).toMatch(/^HTTP\/1\.1 200[\s\S]*from inside$/);
  });
});
