import { describe, expect, it } from "vitest";
import { silent } from "../../../../src/core/log.ts";
import { openMetrics } from "../../../../src/core/metrics.ts";
import { RelayEvents } from "../../../../src/relay/events.ts";
import type { Leg } from "../../../../src/relay/leg.ts";
import { Pairs } from "../../../../src/relay/rendezvous/pair.ts";
import { Announcements, PUBLIC } from "../../../../src/roles/proxy/announcements.ts";
import { PublicBroker } from "../../../../src/roles/proxy/public-broker.ts";
import type { JsonrpcClient } from "../../../../src/rpc/jsonrpc/client.ts";
import { openMemoryStore } from "../../../../src/store/memory.ts";

const DOMAIN = "a.example.local";

/** A leg that remembers how it was hung up. */
function leg(): { leg: Leg; hungUp: string[] } {
  const hungUp: string[] = [];
  const line = { hangUp: (last?: Buffer) => void hungUp.push(last?.toString("hex") ?? "") };
  return { leg: { door: "sni", line, arrived_at: 0 }, hungUp };
}

describe("a TLS client whose operator refuses it", () => {
  /** `refuse` is what the operator does, with the token it was told, before it answers with an error. */
  async function visit(refuse: (token: Buffer, pairs: Pairs<Leg>) => void) {
    const met: unknown[] = [];
    const pairs = new Pairs<Leg>(
      { patience_ms: 60_000, pending_max: 10, pending_per_caller_max: 10 },
      { met: (_, legs) => void met.push(legs), lonely: () => {} },
    );
    const announcements = await Announcements.open(PUBLIC, openMemoryStore(), { log: silent });
    await announcements.announce({ domain: DOMAIN, party: "private-proxy", expires_at: null });
    const eps = {
      async call({ params }: { params: { token: string } }) {
        refuse(Buffer.from(params.token, "base64"), pairs);
        return { error: { code: 500, message: "not now" } };
      },
    } as unknown as JsonrpcClient;
    const events = new RelayEvents({ log: silent, metrics: openMetrics() });
    const deps = { name: "public-proxy", endpoint: "localhost:1", pairs, announcements, eps };
    const broker = new PublicBroker({ ...deps, events, log: silent });
    const client = leg();
    await broker.passThrough(DOMAIN, client.leg, new AbortController().signal);
    return { ...client, met, pending: pairs.pending };
  }

  it("is told so and hung up", async () => {
    const { hungUp, met, pending } = await visit(() => {});
    expect(hungUp).toEqual(["15030300020250"]);
    expect([met, pending]).toEqual([[], 0]);
  });

  it("is left alone if somebody came for it all the same", async () => {
    const { hungUp, met } = await visit((token, pairs) => void pairs.seat(token, leg().leg));
    expect(met).toHaveLength(1);
    expect(hungUp).toEqual([]);
  });
});
