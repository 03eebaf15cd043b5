import { Broker } from "../../broker/broker.ts";
import type { Channel } from "../../broker/channel.ts";
import { GrpcClientChannel } from "../../broker/channels/grpc-client.ts";
import { GrpcServerChannel } from "../../broker/channels/grpc-server.ts";
import { JsonrpcClientChannel } from "../../broker/channels/jsonrpc-client.ts";
import { openGateway } from "../../broker/channels/jsonrpc-server.ts";
import { StdoutChannel } from "../../broker/channels/stdout.ts";
import type { ConnectedPeer } from "../../broker/connected-peer.ts";
import { BrokerEvents } from "../../broker/events.ts";
import { answerInternally, type DialIn } from "../../broker/internal.ts";
import { Later } from "../../broker/later.ts";
import { Peers } from "../../broker/peers.ts";
import { ReverseStreams } from "../../broker/reverse-streams.ts";
import type { GrpcClientSettings } from "../../broker/settings.ts";
import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { VERSION } from "../../core/package.ts";
import { Scope } from "../../core/scope.ts";
import type { Directory } from "../../directory/directory.ts";
import { DirectoryEvents } from "../../directory/events.ts";
import { openDirectory } from "../../directory/open.ts";
import { openTls } from "../../net/live-tls.ts";
import { RpcEvents } from "../../rpc/events.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import { addChecks } from "./checks.ts";
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
  { log, metrics }: { log: Log; metrics: Metrics },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const { name: self, channels } = settings;
  const readiness = new Readiness(scope.signal);
  if (settings.metrics) {
    scope.use(await openStatusServer(settings.metrics, { metrics, readiness }));
  }
  const directory = scope.use(
    await openDirectory(settings.directory, { log, events: new DirectoryEvents({ metrics }) }),
  );
  const events = new BrokerEvents({ log, metrics });
  const rpc = new RpcEvents({ log, metrics });
  const limits = callLimits(settings);
  const broker = new Broker(limits, { directory, events });
  const later = new Later(limits, scope.signal);
  const deps = { self, broker, directory, later, rpc, log };
  const ways: Partial<Record<ChannelType, Channel>> = {};

  const screen = find("stdout", channels)?.settings;
  if (screen) ways.stdout = new StdoutChannel({ self });
  const backend = find("jsonrpc_client", channels)?.settings;
  const service = backend && scope.use(await JsonrpcClientChannel.open(backend, deps));
  if (service) ways.jsonrpc_client = service;
  const out = find("grpc_client", channels)?.settings;
  const peers = out && scope.use(await openPeers(out, { ...deps, scope }));
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
  answerInternally(broker, { self, version: VERSION, directory, later, dialIn, connected });

  const desk = find("jsonrpc_server", channels)?.settings;
  const gateway = desk && (await openGateway(desk, deps));
  reverse = peers && new ReverseStreams({ ...deps, peers });
  scope.defer(() =>
    Promise.all([gateway?.[Symbol.asyncDispose](), reverse?.[Symbol.asyncDispose]()]),
  );
  events.watchStreams({ kept: () => reverse?.open ?? 0, accepted: () => server?.connected ?? 0 });
  events.watchWaiting({ peers: () => peers?.waiting ?? 0, service: () => service?.waiting ?? 0 });
  const certificates = [out, door].flatMap((each) => each?.tls.certificate_file ?? []);
  addChecks(readiness, { self, directory, certificates, streams: reverse });
  readiness.opened();

  log.info({ operator: self, channels: channels.map(({ type }) => type) }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}

/** Read from the settings whenever it is asked for, because settings may be loaded again. */
function callLimits(settings: EpsSettings) {
  return {
    self: settings.name,
    get call_timeout_ms() {
      return settings.call_timeout * 1_000;
    },
    get respond_timeout_ms() {
      return settings.respond_timeout * 1_000;
    },
  };
}

type ChannelSettings = EpsSettings["channels"][number];
type ChannelType = ChannelSettings["type"];

/** The settings of the channel of a type, of which there is at most one. */
function find<T extends ChannelType>(type: T, channels: ChannelSettings[]) {
  type Wanted = Extract<ChannelSettings, { type: T }>;
  return channels.find((channel): channel is Wanted => channel.type === type);
}

async function openPeers(
  settings: GrpcClientSettings,
  { self, directory, log, scope }: { self: string; directory: Directory; log: Log; scope: Scope },
): Promise<Peers> {
  const files = scope.use(await openTls(settings.tls, { log }));
  const options = {
    self,
    get use_proxy() {
      return settings.useProxy;
    },
    get idle_timeout_ms() {
      return settings.idle_timeout * 1_000;
    },
    get calls_max() {
      return settings.calls_max;
    },
    get waiting_max() {
      return settings.waiting_max;
    },
    get tls() {
      return files.current;
    },
    skip_verify: settings.tls.insecure_skip_verify,
  };
  return new Peers(options, { directory, log });
}
