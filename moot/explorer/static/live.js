// A page's life: ask, show, and ask again when the feed tells that something moved. Without a feed
// it asks every few seconds; without a node it says so and keeps trying.

import { Offline, Refused } from "./api.js";
import { h, update } from "./dom.js";
import { openFeed } from "./feed.js";

const REST_MS = 400; // between two refreshes at least: a fast chain shall not keep a phone busy
const POLL_UP_MS = 5_000; // with a feed: only what no frame tells (peers' latency, clocks)
const POLL_DOWN_MS = 2_500;

const listeners = [];
let feedUp = false;
let nodeUp = true;

/** Calls `listener(frame)` for every frame of the feed. */
export function onFrame(listener) {
  listeners.push(listener);
}

function startFeed(kinds, moved) {
  openFeed(
    kinds,
    (frame) => {
      for (const listener of listeners) listener(frame);
    },
    (up) => {
      feedUp = up;
      showLink();
      moved();
    },
  );
}

function showLink() {
  const link = document.getElementById("link");
  const state = !nodeUp ? "offline" : feedUp ? "live" : "connecting";
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  document.getElementById("link-text").textContent = state === "connecting" ? "polling" : state;
}

function showOffline(down) {
  const bar = document.getElementById("offline");
  if (bar.hidden === !down) return;
  bar.textContent = down ? "The node does not answer; retrying. What you see is from before." : "";
  bar.hidden = !down;
}

let announcedAt = -Infinity;

/** Tells screen readers, politely: at most every `restMs`. */
export function announce(text, restMs = 0) {
  if (performance.now() - announcedAt < restMs) return;
  announcedAt = performance.now();
  document.getElementById("announcer").textContent = text;
}

/**
 * Runs a page. `load()` asks the node and resolves to facts; `show(facts)` gives the content of
 * <main>; `kinds`: the frames that make a refresh worth while; `missing(refused)`: the content
 * where the node has no such thing. Returns what asks for a refresh soon.
 */
export function run({ load, show, kinds, missing = notFound }) {
  const main = document.getElementById("main");
  let timer = 0;
  let busy = false;
  let again = false;
  let lastEnd = -Infinity;

  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    clearTimeout(timer);
    try {
      const facts = await load();
      nodeUp = true;
      update(main, ...[show(facts)].flat());
    } catch (error) {
      if (error instanceof Offline) {
        nodeUp = false;
        if (main.querySelector("[aria-busy]")) update(main, waitingForNode());
      } else if (error instanceof Refused) {
        nodeUp = true;
        if (error.missing || main.querySelector("[aria-busy]")) update(main, missing(error));
      } else {
        update(main, broken(error));
        throw error;
      }
    } finally {
      busy = false;
      lastEnd = performance.now();
      showOffline(!nodeUp);
      showLink();
      plan(again ? REST_MS : nodeUp && feedUp ? POLL_UP_MS : POLL_DOWN_MS);
    }
  }

  function plan(wait) {
    clearTimeout(timer);
    timer = setTimeout(() => document.visibilityState === "visible" && refresh(), wait);
  }

  function soon() {
    if (busy) again = true;
    else if (document.visibilityState === "visible") {
      plan(Math.max(0, lastEnd + REST_MS - performance.now()));
    }
  }

  onFrame((frame) => {
    if (frame.kind === "gap" || kinds.includes(frame.kind)) soon();
  });
  startFeed(["head", ...kinds.filter((kind) => kind !== "head")], soon);
  document.addEventListener("visibilitychange", soon);
  refresh();
  return soon;
}

function waitingForNode() {
  return h(
    "div",
    { class: "notice", "aria-busy": "true" },
    h("h1", null, "The node does not answer"),
    h("p", { class: "loading" }, "Retrying. Is it running?"),
  );
}

function broken(error) {
  return h(
    "div",
    { class: "notice" },
    h("h1", null, "This page made a mistake"),
    h("p", null, `It could not show what the node answered: ${error.message}`),
  );
}

export function notFound(refused) {
  return h(
    "section",
    { class: "notice" },
    h("h1", null, refused.pruned ? "Pruned here" : "Not found"),
    h("p", null, `The node says: ${refused.message}`),
    h(
      "p",
      { class: "quiet" },
      refused.pruned
        ? "A node that keeps everything can still show it."
        : "It may not have arrived here yet; this page keeps looking.",
    ),
    h("p", null, h("a", { href: "/" }, "Back to the chain")),
  );
}
