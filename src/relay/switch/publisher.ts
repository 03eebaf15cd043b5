import type { XPublisher, XSubscriber } from "zeromq";
import type { SwitchEvents } from "./events.ts";
import {
  bindInside,
  type Curve,
  lossOf,
  type SocketLimits,
  socketOptions,
  type ZeroMQ,
} from "./zeromq.ts";

/**
 * The publisher proxy: what publishers of this machine say goes to whoever has subscribed to how it
 * begins, and what is subscribed to is told to the publishers (seed-systems 4.4). With CURVE there are
 * two sockets for subscribers, since those of this machine know nothing of it.
 */
export class PublisherProxy implements AsyncDisposable {
  readonly #publishers: XSubscriber;
  readonly #near: XPublisher;
  readonly #far: XPublisher;
  readonly #events: SwitchEvents;
  #ports = { publishers: 0, near: 0, far: 0 };
  /** Settles when it is closed; rejects if it breaks. */
  over: Promise<unknown> = Promise.resolve();

  private constructor(
    zmq: ZeroMQ,
    limits: SocketLimits,
    { curve, events }: { curve: Curve | undefined; events: SwitchEvents },
  ) {
    // A subscription that got lost would never be made up for, so there is no limit for those.
    this.#publishers = new zmq.XSubscriber({ ...socketOptions(limits), sendHighWaterMark: 0 });
    this.#near = new zmq.XPublisher({ ...socketOptions(limits), noDrop: true });
    this.#far = curve
      ? new zmq.XPublisher({ ...socketOptions(limits, curve), noDrop: true })
      : this.#near;
    this.#events = events;
  }

  static async open(
    zmq: ZeroMQ,
    limits: SocketLimits,
    deps: { curve: Curve | undefined; events: SwitchEvents },
  ): Promise<PublisherProxy> {
    const proxy = new PublisherProxy(zmq, limits, deps);
    const near = await bindInside(proxy.#near);
    const far = proxy.#far === proxy.#near ? near : await bindInside(proxy.#far);
    proxy.#ports = { publishers: await bindInside(proxy.#publishers), near, far };
    const subscribers = [...proxy.#subscribers];
    proxy.over = Promise.all([
      proxy.#publish(),
      ...subscribers.map((each) => proxy.#subscribe(each)),
    ]);
    return proxy;
  }

  /** Where connections go, on the loopback of this machine. */
  get ports(): { readonly publishers: number; readonly near: number; readonly far: number } {
    return this.#ports;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of [this.#publishers, ...this.#subscribers]) socket.close();
    await this.over.catch(() => {});
  }

  get #subscribers(): Set<XPublisher> {
    return new Set([this.#near, this.#far]);
  }

  async #publish(): Promise<void> {
    const subscribers = [...this.#subscribers];
    for await (const frames of this.#publishers) {
      for (const each of subscribers) await this.#publishTo(each, frames);
      this.#events.passed("publisher", frames);
    }
  }

  /** Those who can take more get it all the same if others cannot, for whom it is lost. */
  async #publishTo(subscribers: XPublisher, frames: Buffer[]): Promise<void> {
    try {
      await subscribers.send(frames);
    } catch (reason) {
      this.#events.lost("publisher", lossOf(reason), frames[0]);
      change(subscribers, { noDrop: false });
      await subscribers.send(frames);
      change(subscribers, { noDrop: true });
    }
  }

  async #subscribe(subscribers: XPublisher): Promise<void> {
    for await (const frames of subscribers) await this.#publishers.send(frames);
  }
}

/**
 * The package warns on standard error whenever an option changes of a socket that is bound, since most
 * would have to wait; this one does not (zmq_setsockopt(3)), and it may change for each message.
 */
function change(socket: XPublisher, { noDrop }: { noDrop: boolean }): void {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    socket.noDrop = noDrop;
  } finally {
    process.emitWarning = emitWarning;
  }
}
