/**
 * The system calls of the kernel engine, as their manual pages (section 2) have them, without a layer in
 * between: numbers in, a number out, and `errno` behind a -1. Addresses are those of pinned memory.
 */
export type Linux = Awaited<ReturnType<typeof loadLinux>>;

type Call = (...args: number[]) => number;

/** Throws if this system or this Node cannot do it; the message says what is missing. */
export async function loadLinux() {
  if (process.platform !== "linux") throw new Error("this is no Linux");
  const { default: koffi } = await import("koffi");
  const libc = koffi.load("libc.so.6");
  const call = (signature: string): Call => libc.func(signature) as unknown as Call;
  const pins: ArrayBufferView[] = [];
  const getrlimit = libc.func("int getrlimit(int, void *)") as unknown as (
    resource: number,
    limits: BigUint64Array,
  ) => number;
  return {
    accept4: call("int accept4(int, uintptr_t, uintptr_t, int)"),
    close: call("int close(int)"),
    epoll_create1: call("int epoll_create1(int)"),
    epoll_ctl: call("int epoll_ctl(int, int, int, uintptr_t)"),
    epoll_wait: call("int epoll_wait(int, uintptr_t, int, int)"),
    eventfd: call("int eventfd(uint, int)"),
    fcntl: call("int fcntl(int, int, int)"),
    pipe2: call("int pipe2(uintptr_t, int)"),
    read: call("long read(int, uintptr_t, size_t)"),
    recv: call("long recv(int, uintptr_t, size_t, int)"),
    send: call("long send(int, uintptr_t, size_t, int)"),
    setsockopt: call("int setsockopt(int, int, int, uintptr_t, uint)"),
    shutdown: call("int shutdown(int, int)"),
    splice: call("long splice(int, uintptr_t, int, uintptr_t, size_t, uint)"),
    write: call("long write(int, uintptr_t, size_t)"),
    /** `send` of bytes that are not pinned. Slower. */
    sendBytes: libc.func("long send(int, const void *, size_t, int)") as unknown as (
      descriptor: number,
      bytes: Buffer,
      size: number,
      flags: number,
    ) => number,
    /** `setsockopt` of a value that is not pinned. */
    setsockoptOf: libc.func("int setsockopt(int, int, int, const void *, uint)") as unknown as (
      descriptor: number,
      level: number,
      option: number,
      value: Int32Array,
      size: number,
    ) => number,
    errno: (): number => koffi.errno(),
    /** How many descriptors this process may have; no number is as high. */
    descriptorLimit(): number {
      const limits = new BigUint64Array(2);
      getrlimit(RLIMIT_NOFILE, limits);
      return Number(limits[0]);
    },
    /** Keeps memory where it is, for good, and says where that is: an address alone keeps nothing alive. */
    pin(memory: ArrayBufferView): number {
      pins.push(memory);
      return Number(koffi.address(memory));
    },
  };
}

const RLIMIT_NOFILE = 7;

export const EINTR = 4;
export const EAGAIN = 11;

export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x8000_0000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CLOEXEC = 0x8_0000;

/** For `accept4`, `pipe2` and `eventfd` alike: non-blocking, closed on exec. */
export const NONBLOCK_CLOEXEC = 0x8_0800;

export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;

export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_WR = 1;
export const SPLICE_F_MOVE_NONBLOCK = 3;

export const SOL_SOCKET = 1;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_LINGER = 13;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;

const AF_INET = 2;
/** `struct sockaddr_in6`, the larger of the two. */
export const ADDRESS_SIZE = 28;

/** The address in a `struct sockaddr` as text. */
export function addressIn(sockaddr: Buffer): string {
  if (sockaddr.readUInt16LE(0) === AF_INET) return sockaddr.subarray(4, 8).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => sockaddr.readUInt16BE(8 + 2 * i));
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (mapped) return sockaddr.subarray(20, 24).join(".");
  return groups.map((group) => group.toString(16)).join(":");
}

/** `struct epoll_event` is packed on x86-64 only. */
const packed = process.arch === "x64";
export const EVENT_SIZE = packed ? 12 : 16;
export const EVENT_DATA = packed ? 4 : 8;
