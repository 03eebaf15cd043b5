import { once } from "node:events";
import { WebSocket } from "ws";

type Frame = { kind: number; stream: number; body: Buffer };

/** A site of west that dials and speaks version 2 by what `src/wire/west-streams.ts` says, and as badly as it is told to. */
export class WestStreamPeer {
  readonly socket: WebSocket;
  readonly heard: Frame[] = [];

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const frame = data as Buffer;
      const [kind = 255] = frame;
      this.heard.push({ kind, stream: frame.readUInt32BE(1), body: frame.subarray(5) });
    });
  }

  static async dial(port: number, name: string): Promise<WestStreamPeer> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, "west.v2", { origin: name });
    const peer = new WestStreamPeer(socket);
    await once(socket, "open");
    return peer;
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  say(kind: number, stream: number, body: string | Buffer = ""): void {
    const head = Buffer.from([kind, 0, 0, 0, 0]);
    head.writeUInt32BE(stream, 1);
    this.socket.send(Buffer.concat([head, Buffer.from(body as string)]));
  }

  grant(stream: number, size: number): void {
    const body = Buffer.alloc(4);
    body.writeUInt32BE(size);
    this.say(3, stream, body);
  }

  /** All bytes that came on a stream. */
  bytes(stream: number): Buffer {
    const data = this.heard.filter((frame) => frame.kind === 0 && frame.stream === stream);
    return Buffer.concat(data.map(({ body }) => body));
  }

  /** How often a frame of this kind came on a stream. */
  count(kind: number, stream: number): number {
    return this.heard.filter((frame) => frame.kind === kind && frame.stream === stream).length;
  }

  /** Resolves when all that was said before has been read. */
  async settled(): Promise<void> {
    await new Promise((resolve) => this.socket.once("pong", resolve).ping());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
  }
}
