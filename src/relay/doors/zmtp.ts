import {
  GREETING_SIZE,
  INTRODUCTION_MAX,
  OPENING_SIZE,
  readCurveHello,
  readGreeting,
  readSocketType,
  SIGNATURE_SIZE,
} from "../../wire/zmtp.ts";
import type { Greeting } from "./greeting.ts";

/**
 * Lets in ZeroMQ clients that begin a CURVE handshake (seed-systems 3.6). The hello is their greeting
 * and their HELLO, which a worker has to hear instead of us, so that whoever says anything else never
 * costs a worker. A client says its HELLO only to somebody who has greeted it.
 */
export const ZMTP_CLIENT: Greeting = {
  size_max: OPENING_SIZE,
  read(bytes) {
    const used = readCurveHello(bytes);
    return used === undefined ? undefined : { hello: bytes.toString("latin1", 0, used), used };
  },
  farewell: () => undefined,
};

/** Lets in ZeroMQ workers with CURVE by the signature that they begin with; all they say is for their client. */
export const ZMTP_WORKER = peerWith("CURVE");

/** Lets in whoever begins as ZeroMQ does, whatever its mechanism; all it says is for a socket of ours. */
export const ZMTP_PEER = peerWith();

/** Lets in ZeroMQ peers with NULL that were greeted, by what socket they say they are; all of it is for a socket of ours. */
export const ZMTP_SOCKET: Greeting = {
  size_max: INTRODUCTION_MAX,
  read(bytes) {
    const hello = readSocketType(bytes);
    return hello === undefined ? undefined : { hello, used: 0 };
  },
  farewell: () => undefined,
};

function peerWith(mechanism?: "CURVE"): Greeting {
  return {
    size_max: GREETING_SIZE,
    read(bytes) {
      readGreeting(bytes, mechanism);
      return bytes.length < SIGNATURE_SIZE ? undefined : { hello: "", used: 0 };
    },
    farewell: () => undefined,
  };
}
