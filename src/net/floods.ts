/** Counts what is called, and calls `exceeded` when there was too much within one window. */
export function atTooMany(
  { max, window_ms }: { max: number; window_ms: number },
  exceeded: () => void,
): () => void {
  let count = 0;
  let since = performance.now();
  return () => {
    const now = performance.now();
    if (now - since > window_ms) [count, since] = [0, now];
    count += 1;
    if (count === max) exceeded();
  };
}
