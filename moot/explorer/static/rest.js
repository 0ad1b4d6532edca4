// Whether the chain stands still. An engine that waits for the next vote says so each time; that is
// worth a warning only when the head has not moved for a while.

const PATIENCE_MS = 3_000;

let height = null;
let movedAt = 0;

/** Whether the node gives reasons for not moving (`why`), and really has not for a while. */
export function rests(status, why) {
  const now = performance.now();
  if (height === null) movedAt = now - Math.max(0, Date.now() - status.head.time_ms);
  else if (height !== status.head.height) movedAt = now;
  height = status.head.height;
  return !why.healthy && now - movedAt > PATIENCE_MS;
}
