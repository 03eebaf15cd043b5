/**
 * A service as it stands behind an endpoint: it remembers locations for other operators.
 *
 * An endpoint hands it calls by JSON-RPC over HTTP, as to any JSON-RPC server, and adds `_client`: which
 * operator asks, proven by its certificate. Who may call what has been decided before, by the directory.
 * It needs nothing but Node, so that it can be copied as a beginning. `IS_BIND_ADDRESS` says where it
 * listens.
 */
import { createServer, type IncomingMessage } from "node:http";

const BODY_MAX = 64 * 1024;
const LOCATIONS_MAX = 10_000;

type Params = Record<string, unknown> & { _client?: { name?: string } };
type Location = { name: string; address: string; added_by: string };

class Refusal extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const locations = new Map<string, Location>();

const METHODS: Record<string, (params: Params) => unknown> = {
  /** `{ name, address }`; says how many there are. Whoever adds a name again replaces it. */
  add(params) {
    const location = {
      name: textOf(params, "name"),
      address: textOf(params, "address"),
      added_by: params._client?.name ?? "nobody",
    };
    if (locations.size >= LOCATIONS_MAX && !locations.has(location.name)) {
      throw new Refusal(1, `there are ${LOCATIONS_MAX} locations already`);
    }
    locations.set(location.name, location);
    return { locations: locations.size };
  },

  /** `{ name }`; the location, or an error if nobody has added it. */
  lookup(params) {
    const name = textOf(params, "name");
    const location = locations.get(name);
    if (!location) throw new Refusal(404, `nobody has added ${name}`);
    return location;
  },
};

function textOf(params: Params, key: string): string {
  const value = params[key];
  if (typeof value === "string" && value !== "" && value.length <= 200) return value;
  throw new Refusal(-32602, `${key} must be a text of 1 to 200 characters`);
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > BODY_MAX) throw new Refusal(-32600, `send at most ${BODY_MAX} characters`);
  }
  return body;
}

async function answer(request: IncomingMessage): Promise<object> {
  let id: unknown = null;
  try {
    const call = JSON.parse(await bodyOf(request));
    id = call?.id ?? null;
    const method = Object.hasOwn(METHODS, `${call?.method}`) ? METHODS[call.method] : undefined;
    if (!method) throw new Refusal(-32601, "method not found (there are add and lookup)");
    return { jsonrpc: "2.0", result: method(call.params ?? {}), id };
  } catch (reason) {
    const { code, message } =
      reason instanceof Refusal ? reason : { code: -32700, message: "JSON required" };
    return { jsonrpc: "2.0", error: { code, message }, id };
  }
}

const [host = "", port = ""] = (process.env["IS_BIND_ADDRESS"] ?? "127.0.0.1:6666").split(":");
const server = createServer(async (request, response) => {
  const body = JSON.stringify(await answer(request));
  response.writeHead(200, { "content-type": "application/json" }).end(body);
});
server.listen(Number(port), host, () => {
  process.stdout.write(`locations wait at http://${host}:${port}/jsonrpc\n`);
});
