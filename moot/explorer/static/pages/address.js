// An address: what it holds, what it may spend later, and what it did.

import { get } from "../api.js";
import { h } from "../dom.js";
import { faucetForm } from "../faucet.js";
import { shortened, whole } from "../format.js";
import { run } from "../live.js";
import { transactionList } from "../moves.js";
import {
  amount,
  empty,
  facts,
  figure,
  number,
  parts,
  plainId,
  section,
  table,
  title,
} from "../parts.js";

const CONFIRMED_PER_PAGE = 25;

const MATURING = [
  { name: "From height", cell: (coins) => number(whole(coins.height)) },
  { name: "Amount", end: true, cell: (coins) => amount(coins.amount) },
];

async function load(address, after) {
  const encoded = encodeURIComponent(address);
  const tail = after === null ? "" : `/chain/${encodeURIComponent(after)}`;
  const [status, account, stats, txs] = await Promise.all([
    get("/moot/status"),
    get(`/moot/account/${encoded}`),
    get(`/api/address/${encoded}`),
    get(`/api/address/${encoded}/txs${tail}`),
  ]);
  parts.remember(status);
  return { address: account.address, after, status, account, stats, txs };
}

function pendingText({ account, stats }) {
  const waiting = stats.mempool_stats.tx_count;
  if (waiting === 0) return null;
  const change =
    BigInt(stats.mempool_stats.funded_txo_sum) - BigInt(stats.mempool_stats.spent_txo_sum);
  return [
    number(whole(waiting)),
    waiting === 1 ? " transaction waits: " : " transactions wait: ",
    amount(change, change > 0n ? "+" : ""),
    Number(account.pending_nonce) > Number(account.nonce)
      ? [", next nonce ", number(whole(account.pending_nonce))]
      : null,
  ];
}

function maturing({ account }) {
  const coins = account.maturing ?? [];
  if (coins.length === 0) return null;
  return section(
    "Maturing",
    h(
      "p",
      { class: "quiet" },
      "Rewards that can be spent once the chain has grown on top of them.",
    ),
    table("Coins that can be spent later", MATURING, coins, {
      keyOf: (row) => String(row.height),
      tight: true,
    }),
  );
}

function history({ address, after, status, txs }) {
  const confirmed = txs.filter((tx) => tx.status.confirmed);
  const more = confirmed.length >= CONFIRMED_PER_PAGE;
  return section(
    after === null ? "History" : "Earlier history",
    txs.length === 0
      ? empty(after === null ? "Nothing has happened here yet." : "Nothing earlier.")
      : transactionList(txs, { finalHeight: status.finalized.height, about: address }),
    after !== null || more
      ? h(
          "nav",
          { class: "neighbours", "aria-label": "Pages of history" },
          after === null ? h("span") : h("a", { href: `/address/${address}` }, "← Newest"),
          more
            ? h("a", { href: `/address/${address}?after=${confirmed.at(-1).txid}` }, "Earlier →")
            : null,
        )
      : null,
  );
}

export function start(subject) {
  const after = new URLSearchParams(location.search).get("after");
  run({
    kinds: ["head", "final", "transaction", "dropped"],
    load: () => load(subject, after),
    show: (found) => {
      const { address, account, stats, status } = found;
      title(`Address ${shortened(address)}`);
      const chain = stats.chain_stats;
      return [
        h("h1", null, "Address"),
        h("p", { class: "subject" }, plainId(address, "the address", { full: true, copy: true })),
        h("p", { class: "balance", id: "balance" }, amount(account.balance)),
        h(
          "dl",
          { class: "figures" },
          figure("Nonce", whole(account.nonce)),
          figure("Transactions", whole(chain.tx_count)),
          figure("Credits", whole(chain.funded_txo_count)),
          figure("Debits", whole(chain.spent_txo_count)),
        ),
        facts([
          ["Waiting", pendingText(found)],
          ["Received in all", amount(chain.funded_txo_sum)],
          [
            "Sent in all",
            [amount(chain.spent_txo_sum), h("small", { class: "quiet" }, " · fees included")],
          ],
          [
            "Proof",
            [
              h(
                "a",
                {
                  href: `/moot/account/${encodeURIComponent(address)}/proof`,
                  download: `account-${address}-proof.json`,
                },
                "Download",
              ),
              h(
                "small",
                { class: "quiet" },
                " of the balance, for ",
                h("code", null, "moot verify"),
              ),
            ],
          ],
        ]),
        status.faucet && after === null
          ? section(
              "Faucet",
              h("p", { class: "quiet" }, "This is a test network: its coins are free."),
              faucetForm(address),
            )
          : null,
        maturing(found),
        history(found),
      ];
    },
  });
}
