import * as z from "zod";
import { live } from "../core/settings/live.ts";
import { defaultTo, optional, rule, text, wholeNumber } from "../core/settings/shapes.ts";

/** Who we are towards the other side of a TLS connection, and whom we believe (eps-protocol 2.2). */
export const TlsSettings = z
  .strictObject({
    ca_certificate_files: live(z.array(text)),
    certificate_file: live(optional(z.string())),
    key_file: live(optional(z.string())),
    /** Servers: demand a client certificate that one of the above has signed. */
    verify_client: defaultTo(true, z.boolean()),
    /** Servers that do not verify: ask for a certificate all the same. */
    request_client_cert: defaultTo(false, z.boolean()),
    /** Clients: the name the server must prove, if it is not the one that was dialled. */
    server_name: optional(z.string()),
    insecure_skip_verify: defaultTo(false, z.boolean()),
  })
  .check(
    rule((value, complain) => {
      const { certificate_file, key_file } = value as Record<string, unknown>;
      if (certificate_file && !key_file) {
        complain(["key_file"], "is missing: a certificate_file is useless without its key_file");
      }
      if (key_file && !certificate_file) {
        complain(
          ["certificate_file"],
          "is missing: a key_file is useless without a certificate_file",
        );
      }
    }),
  );
export type TlsSettings = z.infer<typeof TlsSettings>;

/** How many new connections one source may open (eps-protocol 10.1). */
export const TcpRateLimits = z.array(
  z.strictObject({
    type: z.enum(["second", "minute", "hour"]),
    limit: wholeNumber(1, Number.MAX_SAFE_INTEGER),
  }),
);
export type TcpRateLimits = z.infer<typeof TcpRateLimits>;
