import { silent } from "../../src/core/log.ts";
import type { Listener } from "../../src/net/listen.ts";
import { openJsonrpcServer } from "../../src/rpc/jsonrpc/server.ts";
import { JsonrpcServerSettings } from "../../src/rpc/settings.ts";

export type Serve = Parameters<typeof openJsonrpcServer>[1]["serve"];

/** Answers with what was asked. */
export const echo: Serve = async ({ method, params }) => ({ result: { method, params } });

/** The text of a call that is in order, but for what `more` says. */
export const call = (more: Record<string, unknown> = {}): string =>
  JSON.stringify({ jsonrpc: "2.0", method: "hd-2.add", params: { a: 1 }, ...more });

/** JSON-RPC servers on free ports of this machine. */
export class JsonrpcServers implements AsyncDisposable {
  readonly #open: Listener[] = [];

  async open(settings: Partial<JsonrpcServerSettings> = {}, serve = echo): Promise<Listener> {
    const all = { ...JsonrpcServerSettings.parse({ bind_address: "127.0.0.1:0" }), ...settings };
    const server = await openJsonrpcServer(all, { serve, log: silent, setting: "test" });
    this.#open.push(server);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#open.splice(0)) await server[Symbol.asyncDispose]();
  }
}
