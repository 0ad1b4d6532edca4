// The mempool: what waits, and what it pays.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, coins, decimal, whole } from "../format.js";
import { run } from "../live.js";
import { amount, empty, figure, number, section, table, txLink } from "../parts.js";

const RECENT = [
  { name: "Transaction", cell: (tx) => txLink(tx.txid, { copy: true }) },
  { name: "Amount", end: true, cell: (tx) => amount(tx.value) },
  { name: "Fee", end: true, cell: (tx) => amount(tx.fee) },
  { name: "Size", end: true, cell: (tx) => number(bytes(tx.vsize)) },
  {
    name: "Fee rate",
    end: true,
    cell: (tx) => [
      number(decimal(Number(tx.fee) / tx.vsize)),
      h("span", { class: "unit" }, " /byte"),
    ],
  },
];

function histogram(bars) {
  const most = Math.max(...bars.map(([, size]) => size));
  return h(
    "ol",
    { class: "bars", "aria-label": "Bytes waiting by fee rate, highest first" },
    bars.map(([rate, size]) =>
      h(
        "li",
        { "data-key": `rate ${rate}` },
        h(
          "span",
          { class: "bar-name" },
          number(decimal(rate)),
          h("span", { class: "unit" }, " /byte"),
        ),
        h("span", { class: "bar", style: { "--share": String(size / most) }, "aria-hidden": true }),
        h("span", { class: "bar-value number" }, bytes(size)),
      ),
    ),
  );
}

export function start() {
  run({
    kinds: ["transaction", "dropped", "head"],
    load: async () => {
      const [status, mempool, recent] = await Promise.all([
        get("/moot/status"),
        get("/api/mempool"),
        get("/api/mempool/recent"),
      ]);
      return { status, mempool, recent };
    },
    show: ({ status, mempool, recent }) => [
      h("h1", null, "Mempool"),
      h("p", { class: "lead" }, "Transactions that this node knows and no block holds yet."),
      h(
        "dl",
        { class: "figures" },
        figure("Waiting", whole(mempool.count)),
        figure("Ready now", whole(status.mempool.pending)),
        figure("Size", bytes(mempool.vsize)),
        figure("Fees", coins(mempool.total_fee), "coins"),
        figure("Least fee", coins(status.fee_per_kilobyte_min), "coins per kB"),
      ),
      section(
        "Fee rates",
        mempool.fee_histogram.length === 0
          ? empty("Nothing waits: any fee above the least one will do.")
          : histogram(mempool.fee_histogram),
      ),
      section(
        "Newest",
        recent.length === 0
          ? empty("No transaction waits. Send one, and it shows here at once.")
          : table("The newest waiting transactions", RECENT, recent, { keyOf: (tx) => tx.txid }),
      ),
    ],
  });
}
