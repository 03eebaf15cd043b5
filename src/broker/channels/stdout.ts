import { formatAddress } from "../../wire/address.ts";
import type { Call, Channel } from "../channel.ts";

/** Takes calls for this operator and prints them, to see what would reach a service. */
export class StdoutChannel implements Channel {
  readonly type = "stdout";
  readonly #self: string;

  constructor({ self }: { self: string }) {
    this.#self = self;
  }

  reaches(operator: string): boolean {
    return operator === this.#self;
  }

  async deliver({ address, params }: Call): Promise<undefined> {
    const { operator, method } = address;
    const shown = { id: formatAddress(address), method: `${operator}.${method}`, params };
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
  }
}
