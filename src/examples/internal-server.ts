/**
 * A web server inside, for TLS passthrough to have something to reach: it tells what it was asked.
 * `IS_BIND_ADDRESS` says where it listens.
 */
import { createServer } from "node:http";

const [host = "", port = ""] = (process.env["IS_BIND_ADDRESS"] ?? "127.0.0.1:7777").split(":");
const server = createServer(({ method, url, headers }, response) => {
  const asked_by_name = headers["x-forwarded-host"];
  const answer = { hello: "from inside", method, path: url, asked_by_name };
  response.writeHead(200, { "content-type": "application/json" });
  response.end(`${JSON.stringify(answer)}\n`);
});
server.listen(Number(port), host, () => {
  process.stdout.write(`the internal server waits at http://${host}:${port}\n`);
});
