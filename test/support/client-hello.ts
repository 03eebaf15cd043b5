import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** What a TLS client of Node says first. */
export async function capturedHello(servername: string | undefined): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const client = connectTls({ host: "127.0.0.1", port, ...(servername && { servername }) });
  client.on("error", () => {});
  const [accepted] = (await once(server, "connection")) as [Socket];
  const [first] = (await once(accepted, "data")) as [Buffer];
  client.destroy();
  accepted.destroy();
  server.close();
  return first;
}
