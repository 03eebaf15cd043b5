import type { Tunnel } from "./tunnel.ts";

/** The tunnels there are, by what their other side is called; the newest of each comes first. */
export class Peers {
  readonly #tunnels = new Map<string, Tunnel[]>();

  /** It stays until its link is over. */
  add(name: string, tunnel: Tunnel): void {
    this.#tunnels.set(name, [tunnel, ...this.all(name)]);
    void tunnel.link.closed.then(() => {
      const left = this.all(name).filter((each) => each !== tunnel);
      if (left.length > 0) this.#tunnels.set(name, left);
      else this.#tunnels.delete(name);
    });
  }

  /** The newest healthy one; if none is, the newest that is open. */
  pick(name: string): Tunnel | undefined {
    const open = this.all(name).filter(({ link }) => link.open);
    return open.find(({ link }) => link.healthy) ?? open[0];
  }

  all(name: string): readonly Tunnel[] {
    return this.#tunnels.get(name) ?? [];
  }
}
