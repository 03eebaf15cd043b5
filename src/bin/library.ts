/**
 * What `import … from "eps-broker"` gives: an agent that keeps connections waiting at a pool, for
 * programs that serve clients themselves or bring them to a server near them.
 */

export { readTls } from "../net/tls.ts";
export { poolAgent } from "../relay/agent/agent.ts";
export { echo, forward, type Handler, type Serve, type Visit } from "../relay/agent/targets.ts";
