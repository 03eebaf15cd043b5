import { Broker } from "../../broker/broker.ts";
import { GrpcClientChannel } from "../../broker/channels/grpc-client.ts";
import { GrpcServerChannel } from "../../broker/channels/grpc-server.ts";
import { JsonrpcClientChannel } from "../../broker/channels/jsonrpc-client.ts";
import { openGateway } from "../../broker/channels/jsonrpc-server.ts";
import { StdoutChannel } from "../../broker/channels/stdout.ts";
import { answerInternally, type DialIn } from "../../broker/internal.ts";
import { Peers } from "../../broker/peers.ts";
import { ReverseStreams } from "../../broker/reverse-streams.ts";
import type { GrpcClientSettings } from "../../broker/settings.ts";
import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { VERSION } from "../../core/version.ts";
import type { Directory } from "../../directory/directory.ts";
import { openDirectory } from "../../directory/open.ts";
import { readTls } from "../../net/tls.ts";
import { openMetricsServer } from "../../rpc/metrics-server.ts";
import type { EpsSettings } from "./settings.ts";

/** An endpoint: a directory to know others by, a broker, and channels by which calls come and go. */
export async function runEndpoint(
  settings: EpsSettings,
  { log }: { log: Log },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const { name: self, channels } = settings;
  const call_timeout_ms = settings.call_timeout * 1_000;
  const directory = scope.use(await openDirectory(settings.directory, { log }));
  const broker = new Broker({ self, directory });
  const deps = { self, broker, directory, call_timeout_ms, log };
  let dialIn: DialIn | undefined;

  for (const channel of channels) {
    switch (channel.type) {
      case "grpc_server": {
        const server = scope.use(await GrpcServerChannel.open(channel.settings, deps));
        dialIn = (endpoint, token, stop) => server.dialIn(endpoint, token, stop);
        broker.add(server);
        break;
      }
      case "grpc_client": {
        const peers = scope.use(await openPeers(channel.settings, deps));
        broker.add(new GrpcClientChannel({ self, directory, peers }));
        scope.use(new ReverseStreams({ ...deps, peers }));
        break;
      }
      case "jsonrpc_client":
        broker.add(scope.use(await JsonrpcClientChannel.open(channel.settings, { self })));
        break;
      case "jsonrpc_server":
        scope.use(await openGateway(channel.settings, deps));
        break;
      case "stdout":
        broker.add(new StdoutChannel({ self }));
        break;
    }
  }
  if (settings.metrics) scope.use(await openMetricsServer(settings.metrics));
  answerInternally(broker, { self, version: VERSION, directory, dialIn });

  log.info({ operator: self, channels: channels.map(({ type }) => type) }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}

async function openPeers(
  { tls, useProxy }: GrpcClientSettings,
  { self, directory, log }: { self: string; directory: Directory; log: Log },
): Promise<Peers> {
  const options = {
    self,
    use_proxy: useProxy,
    tls: await readTls(tls),
    skip_verify: tls.insecure_skip_verify,
  };
  return new Peers(options, { directory, log });
}
