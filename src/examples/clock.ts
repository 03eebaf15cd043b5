/**
 * A service without a port: it tells each client the time of day for each line that it says, through
 * a relay that both can dial. Start a relay by `proxy run pool --preset relayserver`, then this, and
 * then be a client by `nc localhost 8002`. `RELAY` says where connections wait; announcements are
 * made one port above.
 */
import { createInterface } from "node:readline";
import { poolAgent } from "eps-broker";

const relay = process.env["RELAY"] ?? "localhost:8000";
const agent = poolAgent({
  relay,
  size: { min: 2, spare: 2, max: 100 },
  // The stream is ended once this resolves; if it rejects the client sees a broken connection.
  handler: async (stream, { session }) => {
    for await (const line of createInterface({ input: stream })) {
      stream.write(`client ${session}, you said ${line} at ${new Date().toISOString()}\n`);
    }
  },
  events: {
    ready: () => process.stdout.write(`clients of ${relay} can come\n`),
    closed: ({ session, why }) => {
      if (why !== "unused") process.stdout.write(`client ${session}: ${why}\n`);
    },
    troubled: (problem) => process.stderr.write(`${problem}\n`),
  },
});

const stop = async (): Promise<void> => {
  await agent[Symbol.asyncDispose]();
};
process.once("SIGINT", stop).once("SIGTERM", stop);
