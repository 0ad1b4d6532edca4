// The chain: how far it is, what is final, and what just happened.

import { get } from "../api.js";
import { ChainView } from "../chainview.js";
import { h } from "../dom.js";
import { faucetForm } from "../faucet.js";
import { bytes, decimal, span, whole } from "../format.js";
import { announce, run } from "../live.js";
import { rests } from "../rest.js";
import { moveRow, transactionList } from "../moves.js";
import {
  amount,
  blockLink,
  chip,
  empty,
  figure,
  finalWord,
  parts,
  section,
  since,
  title,
} from "../parts.js";

const BLOCKS_SHOWN = 14;
const TRANSACTIONS_SHOWN = 10;
const WAITING_SHOWN = 5;
const ANNOUNCE_REST_MS = 20_000;

function headline({ status, why }) {
  const open = status.head.height - status.finalized.height;
  const word = finalWord();
  const rest =
    open === 0
      ? `It and every block below it is ${word}.`
      : `Block ${whole(status.finalized.height)} and every block below it is ${word}.`;
  return h(
    "div",
    { class: "headline" },
    h("h1", null, "Block ", h("span", { class: "number" }, whole(status.head.height))),
    h("p", { class: "lead" }, rest),
    !rests(status, why)
      ? null
      : h(
          "p",
          { class: "warning" },
          why.sentences[0],
          " ",
          h("a", { href: "/consensus" }, "What to do"),
        ),
  );
}

function figures({ status, chain }) {
  const { rate, seconds } = chain.throughput();
  const interval = chain.interval();
  return h(
    "dl",
    { class: "figures" },
    figure("Engine", status.engine),
    figure(
      "Transactions",
      decimal(rate),
      seconds >= 60 ? "/s" : `/s over ${Math.round(seconds)} s`,
    ),
    figure("Block every", interval === null ? "–" : span(interval)),
    figure(`Not ${finalWord()}`, whole(status.head.height - status.finalized.height)),
    figure("Waiting", whole(status.mempool.count)),
    figure("Peers", whole(status.peers)),
    status.supply === undefined
      ? null
      : figure("Supply", whole(BigInt(status.supply) / 100_000_000n), "coins"),
  );
}

function blockRow(block, side) {
  const count = block.tx_count - 1;
  return h(
    "li",
    { class: side ? "knot side" : "knot", "data-key": block.id, "data-height": block.height },
    h("span", { class: "knot-dot", "aria-hidden": true }),
    h("a", { class: "knot-height number", href: `/block/${block.id}` }, whole(block.height)),
    h("span", { class: "knot-id" }, blockLink(block.id)),
    h(
      "span",
      { class: "knot-count" },
      count === 0 ? h("span", { class: "quiet" }, "empty") : `${whole(count)} tx`,
    ),
    h("span", { class: "knot-size" }, bytes(block.size)),
    h("span", { class: "knot-when" }, side ? chip("side") : since(block.timestamp * 1000)),
  );
}

function spine({ status, chain }) {
  const blocks = chain.newest(BLOCKS_SHOWN);
  const rows = [];
  let drawn = false;
  for (const block of blocks) {
    if (!drawn && block.height <= status.finalized.height) {
      rows.push(finalityLine());
      drawn = true;
    }
    const row = blockRow(block, false);
    row.dataset.final = String(drawn);
    rows.push(
      row,
      ...chain.left
        .filter((other) => other.height === block.height)
        .map((other) => blockRow(other, true)),
    );
  }
  const above = chain.left.filter((other) => other.height > status.head.height);
  return h(
    "ol",
    { class: "spine" },
    above.map((block) => blockRow(block, true)),
    rows,
  );
}

function finalityLine() {
  return h(
    "li",
    { class: "finality", "data-key": "finality" },
    h("span", null, `${finalWord()} from here down`),
  );
}

function waitingRow(tx) {
  return moveRow(tx.txid, {
    amount: amount(tx.value),
    way: h("span", { class: "quiet" }, "waits for a block"),
    when: null,
    state: chip("pending"),
  });
}

function moves({ status, waiting, included }) {
  const inBlocks = new Set(included.map((tx) => tx.txid));
  const rows = waiting
    .filter((tx) => !inBlocks.has(tx.txid))
    .slice(0, WAITING_SHOWN)
    .map(waitingRow);
  const shown = included.slice(0, TRANSACTIONS_SHOWN - rows.length);
  if (rows.length + shown.length === 0)
    return empty("No transaction yet. The first one will show here by itself.");
  return transactionList(shown, { rows, finalHeight: status.finalized.height });
}

export function start() {
  const chain = new ChainView();
  run({
    kinds: ["head", "final", "transaction", "dropped", "peer"],
    load: async () => {
      const [status, why, waiting] = await Promise.all([
        get("/moot/status"),
        get("/moot/why"),
        get("/api/mempool/recent"),
        chain.look(),
      ]);
      parts.remember(status);
      return {
        status,
        why,
        waiting,
        chain,
        included: await chain.transactions(TRANSACTIONS_SHOWN),
      };
    },
    show: (facts) => {
      const { status } = facts;
      title(`${whole(status.head.height)} · ${status.name}`);
      announce(
        `Block ${status.head.height}; ${finalWord()} up to ${status.finalized.height}`,
        ANNOUNCE_REST_MS,
      );
      return [
        headline(facts),
        figures(facts),
        h(
          "div",
          { class: "columns" },
          section("Newest blocks", spine(facts)),
          h(
            "div",
            null,
            section("Newest transactions", moves(facts)),
            status.faucet
              ? section(
                  "Faucet",
                  h("p", { class: "quiet" }, "This is a test network: its coins are free."),
                  faucetForm(),
                )
              : null,
          ),
        ),
      ];
    },
  });
}
