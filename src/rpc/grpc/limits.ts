/** The largest message either side accepts (eps-protocol 3.3), also checked before sending. */
export const MESSAGE_MAX = 4 * 1024 * 1024;

/**
 * How soon a dead peer is noticed: a ping after 20 s of silence, given up 10 s later. Original
 * servers tolerate no ping more often than every 15 s, original clients answer at any time.
 */
export const KEEPALIVE = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
};
