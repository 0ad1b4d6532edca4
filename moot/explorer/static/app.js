// The entry: finds the page's module, starts the feed, and does what all pages share.

import { get, Offline, Refused } from "./api.js";
import { ago } from "./format.js";
import { parts } from "./parts.js";
import { start as address } from "./pages/address.js";
import { start as block } from "./pages/block.js";
import { start as consensus } from "./pages/consensus.js";
import { start as height } from "./pages/height.js";
import { start as home } from "./pages/home.js";
import { start as mempool } from "./pages/mempool.js";
import { start as peers } from "./pages/peers.js";
import { start as search } from "./pages/search.js";
import { start as transaction } from "./pages/transaction.js";

const PAGES = { address, block, consensus, height, home, mempool, peers, search, transaction };
const COPIED_MS = 1_500;

function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-ms]")) {
    const text = ago(Number(element.dataset.ms), now);
    if (element.textContent !== text) element.textContent = text;
  }
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const area = document.createElement("textarea"); // pages over plain HTTP have no clipboard
    area.value = button.dataset.copy;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("copied");
  document.getElementById("announcer").textContent = "Copied";
  setTimeout(() => button.classList.remove("copied"), COPIED_MS);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) copy(button);
});

document.addEventListener("animationend", (event) => {
  if (event.animationName === "arrive") event.target.classList.remove("fresh");
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("q").focus();
  }
});

async function nameTheNode() {
  try {
    const status = await get("/moot/status");
    parts.remember(status);
    document.getElementById("network").textContent = status.name;
    document.getElementById("foot-node").textContent =
      `${status.agent || "moot"} · ${status.engine} · network ${status.name} (${status.network})`;
  } catch (error) {
    if (!(error instanceof Offline || error instanceof Refused)) throw error;
    setTimeout(nameTheNode, 3_000);
  }
}

setInterval(tick, 1_000);
nameTheNode();
const { page, subject } = document.body.dataset;
PAGES[page]?.(subject);
