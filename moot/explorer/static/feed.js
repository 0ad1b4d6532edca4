// The node's feed: one WebSocket for the whole page, opened again whenever it closes.

const WAIT_FIRST_MS = 500;
const WAIT_LONGEST_MS = 5_000;
const SILENCE_MS = 30_000;

/**
 * Opens the feed. `kinds`: the frames that are wanted; `heard(frame)` gets each of them;
 * `changed(up)` tells of the link. A frame of kind "gap" is made here after a reconnection:
 * something may have been missed.
 */
export function openFeed(kinds, heard, changed) {
  let wait = WAIT_FIRST_MS;
  let openedBefore = false;
  let timer = 0;
  let socket = null;

  function open() {
    clearTimeout(timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/moot/feed?kinds=${kinds.join(",")}`);
    const mine = socket;
    const early = setTimeout(() => mine.close(), SILENCE_MS);
    socket.onopen = () => {
      clearTimeout(early);
      wait = WAIT_FIRST_MS;
      changed(true);
      if (openedBefore) heard({ kind: "gap" });
      openedBefore = true;
    };
    socket.onmessage = (message) => {
      const frame = decode(message.data);
      if (frame !== null) heard(frame);
    };
    socket.onclose = () => {
      clearTimeout(early);
      if (mine !== socket) return;
      socket = null;
      changed(false);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, WAIT_LONGEST_MS);
    };
  }

  function hurry() {
    if (document.visibilityState === "visible" && socket === null) open();
  }

  document.addEventListener("visibilitychange", hurry);
  window.addEventListener("online", hurry);
  open();
}

function decode(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame?.kind === "string" ? frame : null;
  } catch {
    return null;
  }
}
