import { kernel, stream } from "./broker.ts";
import {
  direct,
  haproxyShipped,
  haproxySplice,
  haproxySplice64,
  nginxShipped,
  nginxTuned,
  socat,
} from "./forwarders.ts";
import type { Contestant } from "./relay.ts";
import { syncthing } from "./syncthing.ts";
import { wormhole } from "./wormhole.ts";

export { direct, haproxySplice, kernel, nginxShipped, stream };

/** Our engines, the one that is shown first. */
export const ours: readonly Contestant[] = [kernel, stream];

export const peers: readonly Contestant[] = [
  haproxySplice,
  haproxySplice64,
  haproxyShipped,
  nginxShipped,
  nginxTuned,
  socat,
  syncthing,
  wormhole,
];
