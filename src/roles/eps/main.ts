import { Broker } from "../../broker/broker.ts";
import type { Channel } from "../../broker/channel.ts";
import { GrpcClientChannel } from "../../broker/channels/grpc-client.ts";
import { GrpcServerChannel } from "../../broker/channels/grpc-server.ts";
import { JsonrpcClientChannel } from "../../broker/channels/jsonrpc-client.ts";
import { openGateway } from "../../broker/channels/jsonrpc-server.ts";
import { StdoutChannel } from "../../broker/channels/stdout.ts";
import type { ConnectedPeer } from "../../broker/connected-peer.ts";
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

/**
 * An endpoint: a directory to know others by, a broker, and channels by which calls come and go.
 *
 * Opened from the inside out, whatever the order in the settings: the ways by which calls leave, then
 * the doors by which they come in. So it closes from the outside in, and a call under way still finds
 * its way out and its answer back.
 */
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
  const ways: Partial<Record<ChannelType, Channel>> = {};

  const screen = find("stdout", channels)?.settings;
  if (screen) ways.stdout = new StdoutChannel({ self });
  const backend = find("jsonrpc_client", channels)?.settings;
  if (backend) {
    ways.jsonrpc_client = scope.use(await JsonrpcClientChannel.open(backend, { self }));
  }
  const out = find("grpc_client", channels)?.settings;
  const peers = out && scope.use(await openPeers(out, deps));
  if (peers) ways.grpc_client = new GrpcClientChannel({ self, directory, peers });

  const door = find("grpc_server", channels)?.settings;
  const server = door && scope.use(await GrpcServerChannel.open(door, deps));
  if (server) ways.grpc_server = server;
  for (const { type } of channels) {
    const way = ways[type];
    if (way) broker.add(way);
  }
  const dialIn: DialIn | undefined = server && ((...invitation) => server.dialIn(...invitation));
  let reverse: ReverseStreams | undefined;
  const connected = (): ConnectedPeer[] =>
    [peers, reverse, server].flatMap((each) => each?.list() ?? []);
  answerInternally(broker, { self, version: VERSION, directory, dialIn, connected });

  const desk = find("jsonrpc_server", channels)?.settings;
  const gateway = desk && (await openGateway(desk, deps));
  reverse = peers && new ReverseStreams({ ...deps, peers });
  scope.defer(() =>
    Promise.all([gateway?.[Symbol.asyncDispose](), reverse?.[Symbol.asyncDispose]()]),
  );
  if (settings.metrics) scope.use(await openMetricsServer(settings.metrics));

  log.info({ operator: self, channels: channels.map(({ type }) => type) }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}

type ChannelSettings = EpsSettings["channels"][number];
type ChannelType = ChannelSettings["type"];

/** The settings of the channel of a type, of which there is at most one. */
function find<T extends ChannelType>(type: T, channels: ChannelSettings[]) {
  type Wanted = Extract<ChannelSettings, { type: T }>;
  return channels.find((channel): channel is Wanted => channel.type === type);
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
