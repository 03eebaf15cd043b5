/**
 * The few system calls that the load is made of, so that sending and receiving costs as little as it
 * can in this language: no event loop, no streams, no allocation in the inner loop. Linux only.
 */
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

/** Memory that system calls use by its address. Nothing moves or frees it before the process ends. */
export type Memory = { readonly bytes: Buffer; readonly address: number };

/** An address does not keep its buffer alive, so that everything handed out is held here. */
const held: Buffer[] = [];

export function memory(size: number): Memory {
  const bytes = Buffer.alloc(size);
  held.push(bytes);
  return { bytes, address: Number(koffi.address(bytes)) };
}

const calls = {
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, uintptr_t, uint)"),
  connect: libc.func("int connect(int, uintptr_t, uint)"),
  listen: libc.func("int listen(int, int)"),
  accept4: libc.func("int accept4(int, uintptr_t, uintptr_t, int)"),
  getsockname: libc.func("int getsockname(int, uintptr_t, uintptr_t)"),
  setsockopt: libc.func("int setsockopt(int, int, int, uintptr_t, uint)"),
  fcntl: libc.func("int fcntl(int, int, int)"),
  shutdown: libc.func("int shutdown(int, int)"),
  close: libc.func("int close(int)"),
  recv: libc.func("long recv(int, uintptr_t, size_t, int)"),
  send: libc.func("long send(int, uintptr_t, size_t, int)"),
  epoll_create1: libc.func("int epoll_create1(int)"),
  epoll_ctl: libc.func("int epoll_ctl(int, int, int, uintptr_t)"),
  epoll_wait: libc.func("int epoll_wait(int, uintptr_t, int, int)"),
};

const { AF_INET, SOCK_STREAM, NONBLOCK } = { AF_INET: 2, SOCK_STREAM: 1, NONBLOCK: 0o4000 };
const { F_SETFL, SHUT_WR, NOSIGNAL } = { F_SETFL: 4, SHUT_WR: 1, NOSIGNAL: 0x4000 };
const { SOL_SOCKET, REUSEADDR, IP, BIND_NO_PORT, TCP, NODELAY } = {
  SOL_SOCKET: 1,
  REUSEADDR: 2,
  IP: 0,
  BIND_NO_PORT: 24,
  TCP: 6,
  NODELAY: 1,
};
const { EINTR, EAGAIN, ECONNRESET } = { EINTR: 4, EAGAIN: 11, ECONNRESET: 104 };
const BACKLOG = 4_096;
/** One address has some 28,000 ports for those who dial; many circuits need several addresses. */
const SOURCES = 100;

const address = memory(16);
const size = memory(4);
const one = memory(4);
one.bytes.writeInt32LE(1);

function checked(result: number, what: string): number {
  if (result < 0) throw new Error(`${what} failed with errno ${koffi.errno()}`);
  return result;
}

function write(host: readonly [number, number, number, number], port: number): void {
  address.bytes.fill(0);
  address.bytes.writeUInt16LE(AF_INET, 0);
  address.bytes.writeUInt16BE(port, 2);
  address.bytes.set(host, 4);
}

function set(socket: number, level: number, option: number): void {
  checked(calls.setsockopt(socket, level, option, one.address, 4), "setsockopt");
}

/** Listens on loopback at a port that the kernel chooses. */
export function listen(): { socket: number; port: number } {
  const socket = checked(calls.socket(AF_INET, SOCK_STREAM | NONBLOCK, 0), "socket");
  set(socket, SOL_SOCKET, REUSEADDR);
  write([127, 0, 0, 1], 0);
  checked(calls.bind(socket, address.address, 16), "bind");
  checked(calls.listen(socket, BACKLOG), "listen");
  size.bytes.writeInt32LE(16);
  checked(calls.getsockname(socket, address.address, size.address), "getsockname");
  return { socket, port: address.bytes.readUInt16BE(2) };
}

/** The next connection that has come in, or -1. */
export function accept(listener: number): number {
  const socket = calls.accept4(listener, 0, 0, NONBLOCK);
  if (socket < 0 && koffi.errno() !== EAGAIN) checked(socket, "accept");
  if (socket >= 0) set(socket, TCP, NODELAY);
  return socket;
}

let dialled = 0;

/** Dials a port on loopback from one of many source addresses. On loopback that never has to wait. */
export function dial(port: number): number {
  const socket = checked(calls.socket(AF_INET, SOCK_STREAM, 0), "socket");
  set(socket, IP, BIND_NO_PORT);
  set(socket, TCP, NODELAY);
  dialled += 1;
  write([127, 0, 1, 1 + (dialled % SOURCES)], 0);
  checked(calls.bind(socket, address.address, 16), "bind");
  write([127, 0, 0, 1], port);
  checked(calls.connect(socket, address.address, 16), "connect");
  checked(calls.fcntl(socket, F_SETFL, NONBLOCK), "fcntl");
  return socket;
}

export function endWriting(socket: number): void {
  calls.shutdown(socket, SHUT_WR);
}

export function close(socket: number): void {
  calls.close(socket);
}

/** How many bytes came, 0 at the end or at a reset, -1 if there is nothing now. */
export function receive(socket: number, at: number, room: number): number {
  const count = calls.recv(socket, at, room, 0);
  if (count < 0 && koffi.errno() === ECONNRESET) return 0;
  return transferred(count, "recv");
}

/** How many bytes were taken, -1 if there is no room now. */
export function send(socket: number, from: number, length: number): number {
  return transferred(calls.send(socket, from, length, NOSIGNAL), "send");
}

function transferred(count: number, what: string): number {
  if (count >= 0) return count;
  const errno = koffi.errno();
  return errno === EAGAIN || errno === EINTR ? -1 : checked(count, what);
}

export const READABLE = 0x1;
export const WRITABLE = 0x4;
const { ADD, REMOVE, CHANGE } = { ADD: 1, REMOVE: 2, CHANGE: 3 };

/** `struct epoll_event` is packed on x86-64 and nowhere else. */
const [EVENT_SIZE, DATA_AT] = process.arch === "x64" ? [12, 4] : [16, 8];
const EVENTS_MAX = 256;
const WAIT_MS = 200;

/** Which sockets are ready, level-triggered. */
export class Poll {
  readonly #epoll = checked(calls.epoll_create1(0), "epoll_create1");
  readonly #events = memory(EVENT_SIZE * EVENTS_MAX);
  readonly #event = memory(EVENT_SIZE);

  add(socket: number, interest: number): void {
    this.#control(ADD, socket, interest);
  }

  change(socket: number, interest: number): void {
    this.#control(CHANGE, socket, interest);
  }

  remove(socket: number): void {
    this.#control(REMOVE, socket, 0);
  }

  /** Waits until something is ready, at most a moment, and tells of each. Errors count as ready. */
  wait(ready: (socket: number, readable: boolean, writable: boolean) => void): void {
    const count = calls.epoll_wait(this.#epoll, this.#events.address, EVENTS_MAX, WAIT_MS);
    const { bytes } = this.#events;
    for (let index = 0; index < count; index += 1) {
      const what = bytes.readUInt32LE(index * EVENT_SIZE);
      const socket = bytes.readInt32LE(index * EVENT_SIZE + DATA_AT);
      ready(socket, (what & ~WRITABLE) !== 0, (what & WRITABLE) !== 0);
    }
  }

  [Symbol.dispose](): void {
    calls.close(this.#epoll);
  }

  #control(how: number, socket: number, interest: number): void {
    this.#event.bytes.writeUInt32LE(interest, 0);
    this.#event.bytes.writeInt32LE(socket, DATA_AT);
    checked(calls.epoll_ctl(this.#epoll, how, socket, this.#event.address), "epoll_ctl");
  }
}
