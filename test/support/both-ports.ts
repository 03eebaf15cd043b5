import { connect as connectHttp2 } from "node:http2";
import { noMatch, pinnedNames, refuseForeign } from "../../src/broker/identity.ts";
import { Fault } from "../../src/core/fault.ts";
import { silent } from "../../src/core/log.ts";
import { Scope } from "../../src/core/scope.ts";
import { listen } from "../../src/net/listen.ts";
import type { TlsSettings } from "../../src/net/settings.ts";
import { openGrpcServer } from "../../src/rpc/grpc/server.ts";
import { openJsonrpcServer } from "../../src/rpc/jsonrpc/server.ts";
import { JsonrpcServerSettings } from "../../src/rpc/settings.ts";
import type { MemoryDirectory } from "./directory.ts";
import { send } from "./http.ts";
import { call } from "./jsonrpc-servers.ts";
import { field, framed } from "./protobuf.ts";

export type Papers = { ca: string; cert?: string; key?: string; servername?: string };

/** The two ports of an endpoint, which believe whom its directory pins: others, and our own services. */
export type BothPorts = AsyncDisposable & {
  readonly ports: { grpc: number; jsonrpc: number };
  /** Resolves with the name that was believed at each port; undefined if none was. */
  tryBoth(papers: Papers): Promise<{ grpc: string | undefined; jsonrpc: string | undefined }>;
};

export async function openBothPorts(
  tls: TlsSettings,
  { self, directory }: { self: string; directory: MemoryDirectory },
): Promise<BothPorts> {
  const scope = new Scope();
  let heard: { grpc?: string; jsonrpc?: string } = {};
  const server = scope.use(
    await openGrpcServer(
      tls,
      {
        async call({ id, clientName }, leaf) {
          const names = pinnedNames(directory, leaf);
          if (!names.includes(clientName)) throw new Fault("forbidden", noMatch(leaf, names));
          heard.grpc = clientName;
          return { id };
        },
        reverse: () => {},
      },
      { log: silent },
    ),
  );
  const grpc = scope.use(
    await listen({ bind: "127.0.0.1:0", setting: "test" }, (socket) => server.accept(socket)),
  );
  const jsonrpc = scope.use(
    await openJsonrpcServer(JsonrpcServerSettings.parse({ bind_address: "127.0.0.1:0", tls }), {
      async serve(_, signal, { leaf }) {
        await refuseForeign(leaf, { self, allowed: [] }, { directory, signal });
        heard.jsonrpc = self;
        return { result: "ok" };
      },
      log: silent,
      setting: "test",
    }),
  );
  return {
    ports: { grpc: grpc.port, jsonrpc: jsonrpc.port },
    async tryBoth(papers) {
      heard = {};
      await callByGrpc(grpc.port, { ...papers, servername: self }, self);
      await send(jsonrpc.port, call(), { ...papers, servername: self }).catch(() => {});
      return { grpc: heard.grpc, jsonrpc: heard.jsonrpc };
    },
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}

/** Claims a name in one call, and waits until the call is over, however. */
export async function callByGrpc(port: number, papers: Papers, claimed: string): Promise<void> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, papers);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/EPS/Call",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {}).resume();
  stream.end(framed(field(1, "x.y"), field(3, "x.y(1)"), field(4, claimed)));
  await new Promise<void>((resolve) => stream.once("close", resolve));
  session.destroy();
}
