import { type Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";

export type Reply = {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
  json: Record<string, unknown>;
};

type Options = RequestOptions & { agent?: Agent };

/** Sends one request with Node's own client, on a connection of its own, and reads the whole reply. */
export async function send(
  port: number,
  body: string | Buffer | AsyncIterable<Buffer>,
  { headers = {}, ...options }: Options = {},
): Promise<Reply> {
  const start = options.ca ? httpsRequest : httpRequest;
  return await new Promise((resolve, reject) => {
    const request = start({
      port,
      host: "127.0.0.1",
      path: "/jsonrpc",
      method: "POST",
      agent: false,
      ...options,
      headers: { "content-type": "application/json", ...headers },
    });
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, text, json: parsed(text) });
      });
    });
    if (typeof body === "string" || Buffer.isBuffer(body)) request.end(body);
    else void pour(body, request).catch(reject);
  });
}

/** Writes as fast as it is taken, and goes on when there is already an answer. */
async function pour(
  body: AsyncIterable<Buffer>,
  request: ReturnType<typeof httpRequest>,
): Promise<void> {
  for await (const chunk of body) {
    await new Promise<void>((resolve) => request.write(chunk, () => resolve()));
    if (request.destroyed) return;
  }
  request.end();
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
