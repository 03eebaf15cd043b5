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

/** Our engines that there are, the one that is shown first. `kernel` joins them once it is there. */
export const ours: readonly Contestant[] = [stream];

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
