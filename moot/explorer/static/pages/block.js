// One block: what its header and manifest say, what it holds, and whether it stays.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, moment, whole } from "../format.js";
import { run } from "../live.js";
import { isReward, transactionList, wayTable } from "../moves.js";
import {
  addressLink,
  amount,
  blockLink,
  chip,
  empty,
  facts,
  finalWord,
  number,
  parts,
  plainId,
  section,
  since,
  title,
} from "../parts.js";

const PER_PAGE = 25;

function startIndex() {
  const start = Number(new URLSearchParams(location.search).get("start"));
  return Number.isSafeInteger(start) && start > 0 ? start - (start % PER_PAGE) : 0;
}

async function load(id) {
  const start = startIndex();
  const [status, block, txs] = await Promise.all([
    get("/moot/status"),
    get(`/moot/block/${id}`),
    get(`/api/block/${id}/txs/${start}`),
  ]);
  parts.remember(status);
  return { id, start, status, block, txs };
}

function neighbours({ block }) {
  return h(
    "nav",
    { class: "neighbours", "aria-label": "Neighbouring blocks" },
    block.height > 0
      ? h(
          "a",
          { href: `/block/${block.previous}`, rel: "prev" },
          "← Block ",
          whole(block.height - 1),
        )
      : h("span", { class: "quiet" }, "The first block"),
    block.following
      ? h(
          "a",
          { href: `/block/${block.following}`, rel: "next" },
          "Block ",
          whole(block.height + 1),
          " →",
        )
      : null,
  );
}

function sideBanner({ block }) {
  if (block.status !== "side") return null;
  return h(
    "p",
    { class: "warning", id: "side-banner" },
    "This block is on a side branch: the chain went on without it. ",
    "Its transactions count only where the best chain holds them too. ",
    h(
      "a",
      { href: `/block-height/${block.height}` },
      `The block at height ${whole(block.height)} of the best chain`,
    ),
  );
}

function blockFacts({ block, status }) {
  return facts([
    ["Id", plainId(block.id, "the block's id", { full: true, copy: true })],
    ["Previous", block.height > 0 ? blockLink(block.previous, { full: true, copy: true }) : null],
    ["Time", [h("span", { class: "number" }, moment(block.time_ms)), " · ", since(block.time_ms)]],
    [
      "Producer",
      /^0*$/.test(block.producer) || block.height === 0
        ? null
        : addressLink(block.producer, { copy: true }),
    ],
    ["Reward", block.height === 0 ? null : amount(block.reward)],
    ["Fees", block.fees === 0 ? null : amount(block.fees)],
    [
      "Transactions",
      [
        number(whole(block.transactions)),
        block.failed > 0 ? h("span", { class: "quiet" }, `, ${whole(block.failed)} failed`) : null,
      ],
    ],
    ["Size", number(bytes(block.size))],
    ["State root", plainId(block.state_root, "the state root", { full: true, copy: true })],
    ["Merkle root", plainId(block.merkle_root, "the Merkle root", { full: true, copy: true })],
    [
      "Next validators",
      /^0*$/.test(block.next_validators)
        ? null
        : plainId(block.next_validators, "the hash of the next validators", {
            full: true,
            copy: true,
          }),
    ],
    ["Version", number(`0x${block.version.toString(16).padStart(8, "0")}`)],
    ["Bits", block.bits === 0 ? null : number(block.bits.toString(16).padStart(8, "0"))],
    ["Hashes expected", block.bits === 0 ? null : number(whole(hashesExpected(block.bits)))],
    ["Nonce", block.bits === 0 ? null : number(whole(block.nonce))],
    [
      "Claims",
      block.claims === ""
        ? null
        : h(
            "details",
            null,
            h("summary", null, `${whole(block.claims.length / 2)} bytes of the engine's own`),
            h("code", { class: "id full" }, block.claims),
          ),
    ],
    ["Proof", proofLink(block, status)],
  ]);
}

/** Hashes that the target of Bitcoin's compact `bits` takes in the mean: 2^256 / (target + 1). */
function hashesExpected(bits) {
  const exponent = bits >>> 24;
  const mantissa = BigInt(bits & 0x7fffff);
  const target =
    exponent <= 3 ? mantissa >> BigInt(8 * (3 - exponent)) : mantissa << BigInt(8 * (exponent - 3));
  return 2n ** 256n / (target + 1n);
}

function proofLink(block, status) {
  const settled = block.status === "final" || block.status === "confirmed";
  if (!settled)
    return h(
      "span",
      { class: "quiet" },
      block.status === "side"
        ? "none: on a side branch"
        : `not yet: the block is not ${finalWord()}`,
    );
  if (status.finality === "final" && !block.has_proof && block.height > 0)
    return h("span", { class: "quiet" }, "this node holds none of it or of any near above it");
  return [
    h(
      "a",
      { href: `/moot/block/${block.id}/proof`, download: `block-${block.height}-proof.json` },
      "Download",
    ),
    h("small", { class: "quiet" }, " for ", h("code", null, "moot verify")),
  ];
}

function pager({ id, start, block }) {
  const count = block.transactions + 1; // the reward is the first
  if (count <= PER_PAGE) return null;
  const last = Math.min(start + PER_PAGE, count);
  return h(
    "nav",
    { class: "neighbours", "aria-label": "Pages of transactions" },
    start > 0
      ? h("a", { href: `/block/${id}?start=${start - PER_PAGE}` }, "← Earlier in the block")
      : h("span"),
    h("span", { class: "quiet number" }, `${whole(start + 1)}–${whole(last)} of ${whole(count)}`),
    last < count
      ? h("a", { href: `/block/${id}?start=${start + PER_PAGE}` }, "Later →")
      : h("span"),
  );
}

export function start(id) {
  run({
    kinds: ["head", "final"],
    load: () => load(id.toLowerCase()),
    show: (found) => {
      const { block, txs, status } = found;
      title(`Block ${whole(block.height)}`);
      const reward = txs.find(isReward);
      const rest = txs.filter((tx) => tx !== reward);
      return [
        neighbours(found),
        h(
          "h1",
          null,
          "Block ",
          h("span", { class: "number" }, whole(block.height)),
          " ",
          chip(block.status),
        ),
        sideBanner(found),
        blockFacts(found),
        reward && reward.vout.length > 0 ? section("Reward and fees", wayTable(reward)) : null,
        section(
          "Transactions",
          rest.length === 0
            ? empty("This block holds no transactions.")
            : transactionList(rest, { finalHeight: status.finalized.height, showState: false }),
          pager(found),
        ),
      ];
    },
  });
}
