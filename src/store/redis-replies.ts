/** What the errors that Redis replies with mean to whoever runs this program. */
import { ErrorReply } from "redis";
import { Fault } from "../core/fault.ts";

/** Refused, and perhaps not by the next one: a server that starts, a master that was replaced. */
export function isTransient({ message }: ErrorReply): boolean {
  return /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY)\b/.test(message);
}

/** A fault with advice if Redis did answer, and said no. An error reply means that nothing was done. */
export function refusal(what: string, reason: unknown): Fault | undefined {
  if (reason instanceof Fault && reason.fault !== "timeout") {
    return new Fault(reason.fault, `${what}: ${reason.message}`, { cause: reason });
  }
  if (!(reason instanceof ErrorReply)) return undefined;
  const [, fault, advice] = ADVICE.find(([reply]) => reply.test(reason.message)) ?? [
    undefined,
    "failed" as const,
    `redis refuses with ${reason.message.split(" ")[0]}; the log says why`,
  ];
  return new Fault(fault, `${what}: ${advice}`, { cause: reason });
}

const ADVICE: Array<[reply: RegExp, fault: "settings" | "failed" | "unreachable", advice: string]> =
  [
    [/^(WRONGPASS|ERR invalid password)/, "settings", "redis refuses the password; correct it"],
    [/^NOAUTH/, "settings", "redis wants a password; write it down"],
    [/without any password|no password is set/, "settings", 'redis has no password; write ""'],
    [
      /^NOPERM/,
      "settings",
      "the redis user must be allowed PING, LLEN, LRANGE and RPUSH on the key",
    ],
    [/^WRONGTYPE/, "settings", "the key holds something else than a list; choose another key"],
    [
      /DB index|SELECT is not allowed/,
      "settings",
      "redis has no such database; correct its number",
    ],
    [/cluster support disabled/, "settings", "several addresses mean a cluster, and this is none"],
    [
      /^(MOVED|ASK)\b/,
      "settings",
      "this redis is part of a cluster; list several of its addresses",
    ],
    [/^LOADING/, "unreachable", "redis is still loading its data; try again later"],
    [/^CLUSTERDOWN/, "unreachable", "the cluster is down; look at CLUSTER INFO"],
    [/^READONLY/, "failed", "redis is a read-only replica; the address of its master is needed"],
    [/^OOM/, "failed", "redis has no memory left; raise maxmemory"],
    [/^MISCONF/, "failed", "redis cannot save to its disk; look at its log"],
  ];
