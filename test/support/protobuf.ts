/*
 * The wire format of protobuf and gRPC, written down by hand, so that our encoder is not only ever
 * compared with itself.
 */

function varint(value: number): Buffer {
  const bytes: number[] = [];
  // Negative numbers take ten bytes, as those of 64 bits.
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) + 128);
  }
}

/** A field with a length: a text, or a message made of such fields. */
export function field(number: number, ...content: Array<string | Buffer>): Buffer {
  const bytes = Buffer.concat(content.map((part) => Buffer.from(part as string)));
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

export function whole(number: number, value: number): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

export function double(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([varint(number * 8 + 1), bytes]);
}

/** A gRPC message: not compressed, its length, itself. */
export function framed(...message: Buffer[]): Buffer {
  const body = Buffer.concat(message);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** The fields of a message in the order of the wire: bytes, or a number for varints and doubles. */
export function fieldsOf(message: Buffer): Array<{ number: number; value: Buffer | number }> {
  const fields: ReturnType<typeof fieldsOf> = [];
  let at = 0;
  const readVarint = (): bigint => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
  };
  while (at < message.length) {
    const tag = Number(readVarint());
    const number = tag >> 3;
    if (tag % 8 === 0) fields.push({ number, value: Number(readVarint()) });
    else if (tag % 8 === 1) {
      fields.push({ number, value: message.readDoubleLE(at) });
      at += 8;
    } else if (tag % 8 === 2) {
      const size = Number(readVarint());
      fields.push({ number, value: message.subarray(at, at + size) });
      at += size;
    } else throw new Error(`no proto3 field of ours has wire type ${tag % 8}`);
  }
  return fields;
}
