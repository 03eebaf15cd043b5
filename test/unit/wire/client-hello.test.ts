import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, connect as dial } from "node:net";
import { type ConnectionOptions, connect } from "node:tls";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { alert, CLIENT_HELLO_MAX, readClientHello } from "../../../src/wire/client-hello.ts";
import { describeWith } from "../../support/tools.ts";

// ———————————————————————————— Hellos made by hand, from the standard

const u8 = (n: number): Buffer => Buffer.from([n]);
const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 255]);
const u24 = (n: number): Buffer => Buffer.concat([u8(n >> 16), u16(n & 0xffff)]);
const join = (...parts: Buffer[]): Buffer => Buffer.concat(parts);
const long = (content: Buffer): Buffer => join(u16(content.length), content);

const record = (fragment: Buffer): Buffer => join(Buffer.from([22, 3, 1]), long(fragment));
const message = (body: Buffer): Buffer => join(u8(1), u24(body.length), body);
const extension = (type: number, content: Buffer): Buffer => join(u16(type), long(content));
const hostName = (name: string): Buffer => join(u8(0), long(Buffer.from(name, "latin1")));
const sni = (...names: Buffer[]): Buffer => extension(0, long(join(...names)));

type Parts = { version?: number; session?: number; ciphers?: Buffer; extensions?: Buffer[] | null };

function body({ version = 0x0303, session = 0, ciphers = u16(0x1301), extensions }: Parts): Buffer {
  const random = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const start = [u16(version), random, u8(session), Buffer.alloc(session, 7), long(ciphers)];
  const end = extensions === null ? [] : [long(join(...(extensions ?? [])))];
  return join(...start, Buffer.from([1, 0]), ...end);
}

const made = (parts: Parts): Buffer => record(message(body(parts)));
const asking = (name: string): Buffer => made({ extensions: [sni(hostName(name))] });

/** The same message in records of these sizes, the last of which repeats. */
function fragment(whole: Buffer, sizes: number[]): Buffer {
  const records: Buffer[] = [];
  const step = (index: number): number => sizes[Math.min(index, sizes.length - 1)] ?? 1;
  for (let at = 0; at < whole.length; at += step(records.length - 1)) {
    records.push(record(whole.subarray(at, at + step(records.length))));
  }
  return join(...records);
}

/** What all the records carry. */
function carried(bytes: Buffer): Buffer {
  const fragments: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) {
    fragments.push(bytes.subarray(at + 5, at + 5 + bytes.readUInt16BE(at + 3)));
  }
  return join(...fragments);
}

const BASE = Buffer.from(
  "1603010047010000430303000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" +
    "00000213010100001800000014001200000f612e6578616d706c652e6c6f63616c",
  "hex",
);
const HOST = "a.example.local";
const REFUSED = Symbol("refused");
const MORE = Symbol("more");

/** The name, or none, or that more bytes are needed, or that this is refused. Other errors pass. */
function outcome(bytes: Buffer): string | undefined | typeof REFUSED | typeof MORE {
  try {
    const hello = readClientHello(bytes);
    return hello ? hello.server_name : MORE;
  } catch (reason) {
    expect(reason).toMatchObject({ name: "Fault", fault: "malformed" });
    return REFUSED;
  }
}

const claiming = (length: number): Buffer =>
  made({ extensions: [extension(0, join(u16(length), hostName(HOST)))] });

describe("the vectors of eps-protocol, appendix B", () => {
  it("begin with what we would write ourselves", () => {
    expect(asking(HOST).toString("hex")).toBe(BASE.toString("hex"));
  });

  it.each<[variation: string, bytes: Buffer, result: ReturnType<typeof outcome>]>([
    ["the base", BASE, HOST],
    ["extra bytes after the record", join(BASE, Buffer.from("more")), HOST],
    // The original keeps the case and then finds nobody.
    ["upper case", asking("A.Example.local"), HOST],
    ["an underscore", asking("a_b.local"), REFUSED],
    ["a dot at the end", asking("a.local."), REFUSED],
    ["an empty name", asking(""), REFUSED],
    ["a list said to be shorter", claiming(HOST.length + 2), REFUSED],
    ["a list said to be longer", claiming(HOST.length + 4), HOST],
    ["a second name", made({ extensions: [sni(hostName(HOST), hostName("b.local"))] }), REFUSED],
    ["another type of name", made({ extensions: [sni(join(u8(1), long(u8(97))))] }), undefined],
    ["no extensions block", made({ extensions: null }), REFUSED],
    ["no extension", made({ extensions: [] }), undefined],
    ["TLS 1.0", made({ version: 0x0301, extensions: [sni(hostName(HOST))] }), REFUSED],
    // The original wants all in one read. We wait for the rest.
    ["the last 3 bytes missing", BASE.subarray(0, -3), MORE],
  ])("%s", (_, bytes, result) => {
    expect(outcome(bytes)).toBe(result);
  });
});

describe("a server name (T16)", () => {
  const label = "x".repeat(63);
  const longest = `${label}.${label}.${label}.${"x".repeat(61)}`;

  it.each(["localhost", "1.2", "xn--bcher-kva.example", "a-.b", longest])("may be %s", (name) => {
    expect(outcome(asking(name))).toBe(name);
  });

  it.each([
    ...["*.example", ".example", "a..b", "-a.b", "a b", "a:443", "[::1]", "bücher.example"],
    ...["a.example\0", "a.example\n", "a/../b", `x${label}`, `x${label}.b`, `${longest}x`],
  ])("may not be %j", (name) => {
    expect(outcome(asking(name))).toBe(REFUSED);
  });

  it("is not looked for among two lists of them", () => {
    const [one, other] = [sni(hostName(HOST)), sni(hostName("b.local"))];
    expect(outcome(made({ extensions: [one, other] }))).toBe(REFUSED);
    expect(outcome(made({ extensions: [one, one] }))).toBe(REFUSED);
  });

  it("is found between whatever else there is", () => {
    const grease = [extension(0x0a0a, Buffer.alloc(0)), extension(0xfafa, u8(0))];
    const shares = extension(51, long(join(u16(0x11ec), long(Buffer.alloc(1_216, 3)))));
    const ech = extension(0xfe0d, Buffer.alloc(300, 9));
    const extensions = [...grease, shares, sni(hostName(HOST)), ech];
    expect(outcome(made({ session: 32, ciphers: u16(0xcaca), extensions }))).toBe(HOST);
  });
});

describe("a ClientHello (T16)", () => {
  const stuffed = (size: number): Buffer =>
    message(body({ extensions: [extension(0xabcd, Buffer.alloc(size)), sni(hostName(HOST))] }));

  it("may have 60 KiB", () => {
    expect(outcome(fragment(stuffed(60 * 1_024), [2 ** 14]))).toBe(HOST);
    expect(outcome(fragment(stuffed(60 * 1_024), [16]))).toBe(HOST);
  });

  it("may not have 70 KiB, which is known from its first nine bytes", () => {
    const large = join(u8(1), u24(70 * 1_024), Buffer.alloc(2 ** 13));
    expect(outcome(record(large))).toBe(REFUSED);
    expect(outcome(record(large).subarray(0, 8))).toBe(MORE);
    expect(outcome(record(large).subarray(0, 9))).toBe(REFUSED);
  });

  it("may come in records of one byte, up to 4 KiB", () => {
    expect(outcome(fragment(stuffed(3_900), [1]))).toBe(HOST);
    expect(outcome(fragment(stuffed(4_100), [1]))).toBe(REFUSED);
  });

  it("is told from anything else within its largest size", () => {
    const largest = message(Buffer.alloc(64 * 1_024));
    for (const sizes of [[1], [16], [2 ** 14, 1], [2 ** 14, 2 ** 14, 2 ** 14, 2 ** 14, 2 ** 14]]) {
      expect(outcome(fragment(largest, sizes).subarray(0, CLIENT_HELLO_MAX))).toBe(REFUSED);
    }
  });

  it.each<[what: string, bytes: Buffer]>([
    ["HTTP", Buffer.from("G")],
    ["an SSLv2 hello", Buffer.from([0x80])],
    ["a TLS alert", alert("internal_error").subarray(0, 1)],
    ["a ServerHello", record(u8(2))],
    ["an empty record", record(Buffer.alloc(0))],
    ["a record over 16 KiB", Buffer.from([22, 3, 1, 0x40, 1])],
    ["an alert in between", join(record(message(body({})).subarray(0, 9)), u8(21))],
    ["an empty message", record(message(Buffer.alloc(0)))],
    ["a session id of 33 bytes", made({ session: 33 })],
    ["half a cipher suite", made({ ciphers: Buffer.alloc(3) })],
    ["something behind the extensions", record(message(join(body({}), u8(0))))],
    ["extensions that end too late", record(message(join(body({ extensions: null }), u16(1))))],
    ["an extension that ends too late", made({ extensions: [join(u16(0), u16(9), u8(0))] })],
    ["no list in server_name", made({ extensions: [extension(0, Buffer.alloc(0))] })],
    ["a list of no names", made({ extensions: [sni()] })],
  ])("is not %s", (_, bytes) => {
    expect(outcome(bytes)).toBe(REFUSED);
  });
});

describe("an alert", () => {
  it.each([
    ["unrecognized_name", 112],
    ["decode_error", 50],
    ["internal_error", 80],
  ] as const)("%s is understood by Node", async (name, number) => {
    const server = createServer((socket) => {
      socket.on("error", () => {}).end(alert(name));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const [reason] = await once(client, "error");
    expect(reason.message).toContain(`SSL alert number ${number}`);
    server.close();
  });
});

// ———————————————————————————— Hellos of real clients

/** The first bytes of whoever calls, once they are a whole hello or can never be one. */
async function capture(call: (port: number) => () => void): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const hangUp = call((server.address() as AddressInfo).port);
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      server.on("connection", (socket) => {
        let bytes = Buffer.alloc(0);
        socket.on("error", reject).on("close", () => reject(new Error("no hello")));
        socket.on("data", (more: Buffer) => {
          bytes = Buffer.concat([bytes, more]);
          if (outcome(bytes) !== MORE) resolve(bytes);
        });
      });
    });
  } finally {
    hangUp();
    server.close();
  }
}

function fromNode(options: ConnectionOptions): Promise<Buffer> {
  return capture((port) => {
    const client = connect({ servername: HOST, ...options, socket: dial(port, "127.0.0.1") });
    client.on("error", () => {});
    return () => client.destroy();
  });
}

function fromProgram(command: (port: number) => string[]): Promise<Buffer> {
  return capture((port) => {
    const [program = "", ...args] = command(port);
    const child = spawn(program, args, { stdio: ["pipe", "ignore", "ignore"] });
    return () => child.kill("SIGKILL");
  });
}

const protocols = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => String(i).padEnd(255, "x"));

const NODE: Array<[what: string, options: ConnectionOptions, name?: string | undefined]> = [
  ["as it comes", {}],
  ["TLS 1.2", { maxVersion: "TLSv1.2" }],
  ["TLS 1.3", { minVersion: "TLSv1.3" }],
  ["ALPN", { ALPNProtocols: ["h2", "http/1.1"] }],
  ["one cipher", { ciphers: "ECDHE-RSA-AES128-GCM-SHA256", ecdhCurve: "P-384" }],
  ["upper case", { servername: "A.EXAMPLE.Local" }],
  ["no name", { servername: "" }, undefined],
  ["25 KiB of ALPN", { ALPNProtocols: protocols(100) }],
];

const s_client = (...more: string[]) =>
  fromProgram((port) => ["openssl", "s_client", "-connect", `127.0.0.1:${port}`, ...more]);

const curl = (...more: string[]) =>
  fromProgram((port) => [
    ...["curl", "--noproxy", "*", "--resolve", `${HOST}:${port}:127.0.0.1`],
    ...[...more, `https://${HOST}:${port}/`],
  ]);

describe("the hello of Node (T16)", () => {
  it.each(NODE)("(%s) is read", async (...[, options, ...name]) => {
    expect(outcome(await fromNode(options))).toBe(name.length > 0 ? name[0] : HOST);
  });
});

describeWith(["openssl"], "the hello of openssl", () => {
  it.each<[flags: string, name: string | undefined]>([
    ["-servername A.Example.Local", HOST],
    [`-servername ${HOST} -tls1_2`, HOST],
    [`-servername ${HOST} -tls1_3 -groups P-521:X448`, HOST],
    [`-servername ${HOST} -max_send_frag 512 -alpn ${"h2,".repeat(400)}h3`, HOST],
    ["-noservername", undefined],
  ])("(%s) is read", async (flags, name) => {
    expect(outcome(await s_client(...flags.split(" ")))).toBe(name);
  });
});

describeWith(["curl"], "the hello of curl", () => {
  it.each(["--http1.1", "--tls-max 1.2", "--tlsv1.3"])("(%s) is read", async (flags) => {
    expect(outcome(await curl(...flags.split(" ")))).toBe(HOST);
  });
});

describe("any hello (T16)", () => {
  let hellos: Buffer[];
  beforeAll(async () => {
    const real = await Promise.all(NODE.map(([, options]) => fromNode(options)));
    hellos = [BASE, asking("b.local"), ...real];
  });
  const any = fc.nat(NODE.length + 1); // by number, so that a failure can be read
  const fragments = (index: number, sizes: number[]): Buffer =>
    fragment(carried(hellos[index] ?? BASE), sizes);
  const sizes = fc.array(fc.integer({ min: 8, max: 700 }), { minLength: 1, maxLength: 20 });

  it("is incomplete before its last byte, even in records of one byte", () => {
    const small = hellos.filter(({ length }) => length < 4_096);
    const inOnes = small.map((each) => fragment(carried(each), [1]));
    for (const [index, bytes] of inOnes.entries()) {
      expect(outcome(bytes)).toBe(outcome(small[index] ?? BASE));
    }
    for (const bytes of [...hellos, ...inOnes]) {
      for (let end = 0; end < bytes.length; end += 1) {
        if (readClientHello(bytes.subarray(0, end))) throw new Error(`complete after ${end} bytes`);
      }
    }
  });

  it("says the same in records of any size, with anything behind it", () =>
    fc.assert(
      fc.property(any, sizes, fc.uint8Array({ maxLength: 40 }), (index, sizes, behind) => {
        const again = fragments(index, sizes);
        expect(outcome(join(again, Buffer.from(behind)))).toBe(outcome(hellos[index] ?? BASE));
        expect(outcome(again.subarray(0, -1))).toBe(MORE);
      }),
    ));

  it("however bent, is never read one way and then another", () => {
    const bend = fc.record({ at: fc.nat(), to: fc.nat(255) });
    const bends = fc.array(bend, { maxLength: 4 });
    fc.assert(
      fc.property(any, sizes, bends, fc.nat(), fc.nat(), (index, sizes, bends, a, b) => {
        const bent = fragments(index, sizes);
        // Most bends near the start, where the lengths are.
        for (const { at, to } of bends) bent[at % (to % 2 ? 600 : bent.length)] = to;
        const cuts = [a, b].map((cut) => cut % (bent.length + 1)).sort((one, two) => one - two);
        const [early, late] = cuts.map((cut) => outcome(bent.subarray(0, cut)));
        if (early !== MORE) expect(late).toBe(early);
      }),
      { numRuns: 3_000 },
    );
  });

  it("is not seen in random bytes, which never do worse than fault", () => {
    const noise = fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes));
    const shapes = [(bytes: Buffer) => bytes, record, (bytes: Buffer) => record(message(bytes))];
    fc.assert(
      fc.property(noise, fc.constantFrom(...shapes), (bytes, shape) => {
        expect([MORE, REFUSED]).toContain(outcome(shape(bytes)));
      }),
      { numRuns: 2_000 },
    );
  });
});
