// What the home page remembers of the chain: the blocks of the last minute, those that were left
// for another branch, and the newest transactions.

import { get } from "./api.js";

const WINDOW_S = 60;
const PAGES_MAX = 12; // ten blocks each; a faster chain is measured over what they span
const LEFT_MAX = 8;
const BODIES_MAX = 40;
const BODIES_PER_LOOK = 3; // blocks whose transactions one refresh asks for

export class ChainView {
  constructor() {
    this.blocks = new Map(); // height to block, on the best chain
    this.left = []; // blocks that this page saw on the best chain and that are there no more
    this.bodies = new Map(); // block id to its transactions without the reward
  }

  /** Asks for the newest blocks, down to what is known already or a minute old. */
  async look() {
    let page = await get("/api/blocks");
    const head = page[0].height;
    for (const height of [...this.blocks.keys()]) if (height > head) this.#leave(height);
    let complete = false;
    for (let count = 0; count < PAGES_MAX; count += 1) {
      complete = this.#take(page);
      const lowest = page.at(-1);
      if (complete || lowest.height === 0 || lowest.timestamp < nowS() - WINDOW_S) break;
      page = await get(`/api/blocks/${lowest.height - 1}`);
    }
    const oldest = head - 10 * PAGES_MAX;
    for (const height of [...this.blocks.keys()]) if (height <= oldest) this.blocks.delete(height);
  }

  /** Takes a page of blocks; whether it met, at its lower end, what was known. */
  #take(page) {
    let met = false;
    for (const block of page) {
      const known = this.blocks.get(block.height);
      met = known?.id === block.id && this.blocks.has(block.height - 1);
      if (known && known.id !== block.id) this.#leave(block.height);
      this.blocks.set(block.height, block);
      this.left = this.left.filter((other) => other.id !== block.id);
    }
    return met;
  }

  #leave(height) {
    const block = this.blocks.get(height);
    this.blocks.delete(height);
    this.left = [block, ...this.left.filter((other) => other.id !== block.id)].slice(0, LEFT_MAX);
  }

  /** The newest blocks, highest first. */
  newest(count) {
    return [...this.blocks.values()].sort((a, b) => b.height - a.height).slice(0, count);
  }

  /** Transactions a second over the last minute, and the seconds that were really looked at. */
  throughput() {
    const all = this.newest(Infinity);
    const since = nowS() - WINDOW_S;
    const recent = all.filter((block) => block.timestamp >= since && block.height > 0);
    const count = recent.reduce((sum, block) => sum + block.tx_count - 1, 0);
    const whole = all.length > 0 && (all.at(-1).timestamp < since || all.at(-1).height === 0);
    const seconds =
      whole || recent.length === 0 ? WINDOW_S : Math.max(1, nowS() - recent.at(-1).timestamp);
    return { rate: count / seconds, seconds };
  }

  /** Mean milliseconds between the blocks of the last minute (ten at least); null: too few. */
  interval() {
    const since = nowS() - WINDOW_S;
    const list = this.newest(Infinity).filter(
      (block, index) => block.height > 0 && (index < 10 || block.timestamp >= since),
    );
    return list.length < 2
      ? null
      : ((list[0].timestamp - list.at(-1).timestamp) * 1000) / (list.length - 1);
  }

  /** The newest transactions in blocks, newest first. */
  async transactions(count) {
    const found = [];
    let asked = 0;
    for (const block of this.newest(Infinity)) {
      if (found.length >= count) break;
      if (block.tx_count < 2) continue;
      if (!this.bodies.has(block.id)) {
        if (asked === BODIES_PER_LOOK) continue;
        asked += 1;
        await this.#fetchBody(block);
      }
      found.push(...this.bodies.get(block.id));
    }
    return found.slice(0, count);
  }

  async #fetchBody(block) {
    const last = Math.floor((block.tx_count - 1) / 25) * 25; // the page with the block's newest
    const page = await get(`/api/block/${block.id}/txs/${last}`);
    this.bodies.set(
      block.id,
      page.filter((tx) => !tx.vin.some((input) => input.is_coinbase)).reverse(),
    );
    if (this.bodies.size > BODIES_MAX) this.bodies.delete(this.bodies.keys().next().value);
  }
}

function nowS() {
  return Date.now() / 1000;
}
