import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

/*
 * The checklist of interoperability (eps-protocol 13), what StreamQ-Proxy required of itself (seed-systems
 * 3.3), and what is to be tried with CAMEO's proxies (4.8). What is wrong in one of these rows breaks deployments in which originals and ours
 * work together, so each has tests that carry its tag.
 */
const ROWS = {
  "grpc 1": "the paths /EPS/Call and /EPS/ServerCall, and the numbers of all fields",
  "grpc 2":
    "TLS 1.3, or the suites of originals under 1.2; h2; leaf with intermediate, always sent",
  "grpc 3":
    "the operator's name in SNI and certificate; the leaf's fingerprint pinned for encryption",
  "grpc 4": "clientName is the own operator's, in both directions",
  "grpc 5": "reverse streams: the announcement, one answer for each request, never an end with OK",
  "grpc 6": "4 MiB at most, pings not too often and answered, calls after GOAWAY",
  "grpc 7": "UNKNOWN or -100 for what a broker cannot do; 403 and 500 are answers",
  "addressing 1": "operator.method(id), unique while in flight, and `method` agrees",
  "addressing 2": "_client on every hop, in a form that originals accept",
  "addressing 3": "results that are no object travel as {_: value}",
  "jsonrpc 1": "ids: absent, empty, whole numbers, texts that look like our own",
  "jsonrpc 2": "requests as originals insist on them, over HTTP/1.1",
  "jsonrpc 3": "HTTP 400 with an error is an answer; codes are whole numbers",
  "jsonrpc 4": "localhost is 127.0.0.1",
  "p2p 1": "tokens: 32 bytes in one piece before anything else; base64 in JSON",
  "p2p 2": "the callee dials and says its token before it answers, and is the server of TLS",
  "p2p 3": "parameters and results of requestConnection and _connectionRequest",
  "p2p 4": "parameters and results of incomingConnection and announceConnections",
  "p2p 5": "circuits of originals are short and used once; ours have no deadline",
  "p2p 6": "domains are found by their whole name; suffixes only say who may announce",
  "directory 1": "normal form before hashing, the structured hash, times in canonical form",
  "directory 2": "what is signed, and how a signature is written down",
  "directory 3": "records in chain order, all of them after an unknown hash, times that increase",
  "directory 4": "who may sign, with which certificate and which key file",
  "directory 5": "entries with the lists, objects and nulls of originals",
  "stores 1": "the bytes of the file store and of its entries",
  "stores 2": "the list in Redis holds those bytes",
  "settings 1": "$DIR, .yml and .json, lists that add up, YAML 1.1, empty texts",
  "streamq 100": "as if client and worker were connected to each other",
  "streamq 110": "a port for clients and one for workers, and nothing of ZeroMQ or its keys",
  "streamq 120": "who waits, who is paired, and where they came from",
  "streamq 130": "a client without a worker waits, and nothing of it is lost",
  "streamq 140": "what a worker says early is kept for its client",
  "streamq 150": "a pair lasts as long as its client",
  "streamq 160": "the worker that waits longest, is used least, or was this client's before",
  "streamq 170": "what was kept comes first, then everything, both ways",
  "streamq 190": "what one says the other hears, unchanged",
  "streamq 200": "whoever leaves, the partner is found at once",
  "streamq 210": "whose a worker is comes from its agent, never from what it tells its client",
  "streamq 220": "any mechanism without a gate, CURVE alone behind one",
  "streamq 230": "either may leave in any state",
  "cameo 1": "fifty applications with ports of their own, all reached by two",
  "cameo 2": "a firewall that lets in these two, and no socket to any other",
  "cameo 3": "10,000 requests, each answer to who asked",
  "cameo 4": "several answers to one request",
  "cameo 5": "messages of two parts, and of 100 MB",
  "cameo 6": "a responder that comes late",
  "cameo 7": "a responder that was started again",
  "cameo 8": "proxies that were started again",
  "cameo 9": "five subscribers in step with a publisher, and nothing lost",
  "cameo 10": "topics that begin alike",
  "cameo 11": "rogues: a server's name, a responder's, events by the third port",
  "cameo 12": "calling back where both sides have proxies",
  "cameo 13": "peers of two libraries",
};

const tests = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".test.ts") && !file.endsWith("checklist.test.ts"))
  .map((file) => readFileSync(join("test", file), "utf8"));
/** The tags at the ends of titles. */
const tags = tests.flatMap((text) =>
  [...text.matchAll(/\[([a-z0-9]+) (\d+(?:, \d+)*)\](?=["`],)/g)].flatMap(([, part, rows = ""]) =>
    rows.split(", ").map((row) => `${part} ${row}`),
  ),
);

describe("the checklist of interoperability", () => {
  it.each(Object.entries(ROWS))("%s has a test: %s", (row) => {
    expect(tags).toContain(row);
  });

  it("has every row that a test claims to check", () => {
    for (const tag of tags) expect(Object.keys(ROWS)).toContain(tag);
  });
});
