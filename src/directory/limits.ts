/**
 * Every size the directory accepts, in one place.
 *
 * They are far above what a directory of people needs, and low enough that nobody can make us hash,
 * store or serve something absurd. Lengths count UTF-16 units.
 */
export const LIMITS = {
  name_length_max: 255,
  string_length_max: 4_096,
  /** Elements of any list inside a record: groups, services, methods, permissions … */
  list_length_max: 1_000,
  /** A record's `data` as JSON text. Entries must stay well below the 4 MiB of a gRPC message. */
  data_length_max: 262_144,
  /** A signer's certificate (with whatever follows it) as PEM. */
  certificate_length_max: 16_384,
  /** Records in one answer of a directory server. */
  records_max: 100_000,
  /** Certificates from a signer up to its root, both counted. */
  path_length_max: 5,
  /** Signers remembered as verified. */
  signers_max: 1_000,
} as const;
