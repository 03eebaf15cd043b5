import type { SignedRecord } from "../../../src/directory/record.ts";

/** eps-protocol, Appendix A: a chain that the original program verified. Its keys are thrown away. */

export const ROOT = `-----BEGIN CERTIFICATE-----
MIIBVzCB/6ADAgECAgEBMAoGCCqGSM49BAMCMBMxETAPBgNVBAMMCHZlYy1yb290
MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjATMREwDwYDVQQDDAh2
ZWMtcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNgeEEz9yR61yku7gEKs
YeDMTe2+jtqBudckwQLX+azWPLLF6atEZ7Ar8ToyFgjJyq8wRUr1SAg1zv8M4aTX
1s6jQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQW
BBTzKSF3aA+XnnOEPRV8IxkXeQdCcjAKBggqhkjOPQQDAgNHADBEAiBMISbram7e
JL6tAg6xIupLqEYffMy2KT9LBGOi8ianpgIgerxiBPEa+skJ3DaIAUbVEZ/nm1cH
97mj14N8FyBMJnE=
-----END CERTIFICATE-----
`;

export const SIGNER = `-----BEGIN CERTIFICATE-----
MIIBjTCCATKgAwIBAgIBAjAKBggqhkjOPQQDAjATMREwDwYDVQQDDAh2ZWMtcm9v
dDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJ
dmVjLWFkbWluMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEH9s0NMG6CH74f08m
skDnCSHd333HyztnxfLRhDSVSO4Yc4eauHuzHWDSw5UiZcKP58ePu6u9dsQXfb4h
lIZHhqN0MHIwQgYDVR0RBDswOYYVaXJpcy1uYW1lOi8vdmVjLWFkbWluhhVpcmlz
LWdyb3VwOi8vc2QtYWRtaW6CCXZlYy1hZG1pbjALBgNVHQ8EBAMCB4AwHwYDVR0j
BBgwFoAU8ykhd2gPl55zhD0VfCMZF3kHQnIwCgYIKoZIzj0EAwIDSQAwRgIhAMoB
2O9Rp97bbUfk9XXXhiJxxV8DOtodUDK4TK+qCe2uAiEAikjCpx2WagmkYQ3gyYlL
pTS4Xy8UREMqEI0UzvEHp/g=
-----END CERTIFICATE-----
`;

export const FINGERPRINT = "ef17e44c36ec0cc8e24136631f2447707c3176ad150388e5f5abdd218d29cacf";

const FIRST = "e6bb7ddeda8d8381efba270858690f1ec9394f3c434b3e6a3dc577008516568b";

export const CHAIN: [SignedRecord, SignedRecord] = [
  {
    parent_hash: "",
    hash: FIRST,
    signature: {
      r: "63031077836485116840005601342795589483974624168657348225080848767886876888839",
      s: "94812770436728447806709440036510886993119148234453193803497894470511847134895",
      c: SIGNER,
    },
    record: {
      name: "vec-admin",
      section: "certificates",
      data: [{ fingerprint: FINGERPRINT, key_usage: "signing" }],
      created_at: "2021-05-17T10:00:00Z",
    },
  },
  {
    parent_hash: FIRST,
    hash: "a0a398ae65f4b4329ef78d23e313f404dcfa4ba9f4e4add6f97a6ae215c3c967",
    signature: {
      r: "70088084020570980702948704389345415328109471502413041361486797033484441883872",
      s: "92852536066344770272875055629661117914292569948392831057746309714370904714402",
      c: SIGNER,
    },
    record: {
      name: "hd-1",
      section: "settings",
      data: [
        {
          operator: "",
          service: "proxy",
          environment: "production",
          settings: {
            allowed_domains: [".internal-server.local"],
            limit: 10,
            on: true,
            off: false,
            x: {},
          },
        },
      ],
      created_at: "2021-05-17T10:00:00.12+02:00",
    },
  },
];

export const DIGESTS = [
  "61813a831b070857977575f373992b0d001d55dbad6dba8b9d11e265c1e34e62",
  "3769a90762e305fc9ecfc075f3d786b680368b6794a5b0ff795df0157e5484f4",
] as const;
