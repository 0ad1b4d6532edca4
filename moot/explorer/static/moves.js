// Transactions as Esplora's JSON tells them, under the account model: each debit is a `vin` whose
// prevout names the sender, each credit a `vout`; a block's reward is its coinbase.

import { h } from "./dom.js";
import { addressLink, amount, chip, since, txLink } from "./parts.js";

export const isReward = (tx) => tx.vin.some((input) => input.is_coinbase);

export const sender = (tx) =>
  tx.vin.find((input) => input.prevout)?.prevout.scriptpubkey_address ?? null;

/** Credits as [{address, value}]. */
export function credits(tx) {
  return tx.vout.map((output) => ({
    address: output.scriptpubkey_address ?? null,
    value: BigInt(output.value),
  }));
}

export const moved = (tx) => credits(tx).reduce((sum, credit) => sum + credit.value, 0n);

/** What a transaction does to one address's balance, in base units. */
export function effectOn(tx, address) {
  let sum = 0n;
  for (const input of tx.vin)
    if (input.prevout?.scriptpubkey_address === address) sum -= BigInt(input.prevout.value);
  for (const credit of credits(tx)) if (credit.address === address) sum += credit.value;
  return sum;
}

function recipients(tx) {
  const list = [
    ...new Set(
      credits(tx)
        .map((credit) => credit.address)
        .filter(Boolean),
    ),
  ];
  if (list.length === 0) return h("span", { class: "quiet" }, "nobody");
  return [
    addressLink(list[0]),
    list.length > 1 ? h("span", { class: "quiet" }, ` and ${list.length - 1} more`) : null,
  ];
}

function way(tx, about) {
  if (isReward(tx))
    return about === null
      ? recipients(tx)
      : h("span", { class: "quiet" }, "newly minted, and fees");
  const from = sender(tx);
  if (about === null) {
    return [
      from === null ? "?" : addressLink(from),
      h("span", { class: "arrow", role: "img", "aria-label": "to" }, " → "),
      recipients(tx),
    ];
  }
  if (from !== about)
    return [h("span", { class: "quiet" }, "from "), from === null ? "?" : addressLink(from)];
  return [h("span", { class: "quiet" }, "to "), recipients(tx)];
}

/** A line of a list of transactions, from its parts. */
export function moveRow(txid, { name, amount: much, way: where, when, state }) {
  return h(
    "li",
    { class: "move", "data-key": txid, "data-txid": txid },
    h("div", { class: "move-line" }, name ?? txLink(txid), much),
    h(
      "div",
      { class: "move-line move-small" },
      h("span", { class: "move-way" }, where),
      h("span", { class: "move-when" }, when, state),
    ),
  );
}

/** One transaction in a list. `about`: the address whose point of view it is told from. */
function transactionRow(tx, { finalHeight, about = null, showState = true }) {
  const effect = about === null ? moved(tx) : effectOn(tx, about);
  const inward = about !== null && effect > 0n;
  const failed = tx.status.confirmed && tx.vout.length === 0 && !isReward(tx);
  const place = !tx.status.confirmed
    ? "pending"
    : tx.status.block_height <= finalHeight
      ? "final"
      : "committed";
  return moveRow(tx.txid, {
    name: isReward(tx) ? h("a", { href: `/tx/${tx.txid}` }, "Block reward") : null,
    amount: h("span", { class: inward ? "way-in" : null }, amount(effect, inward ? "+" : "")),
    way: way(tx, about),
    when: tx.status.confirmed ? since(tx.status.block_time * 1000) : null,
    state: failed ? chip("failed") : showState ? chip(place) : null,
  });
}

/** Transactions, newest first. `rows`: lines that stand before them. */
export function transactionList(list, { rows = [], ...options }) {
  return h(
    "ul",
    { class: "moves" },
    rows,
    list.map((tx) => transactionRow(tx, options)),
  );
}

/** The inputs and outputs of one transaction, or of a reward, side by side. */
export function wayTable(tx) {
  return h(
    "div",
    { class: "ways" },
    h(
      "ul",
      { class: "way-side", "aria-label": "From" },
      isReward(tx)
        ? h("li", null, h("span", { class: "quiet" }, "Newly minted, and fees"))
        : tx.vin.map((input) =>
            h(
              "li",
              null,
              input.prevout?.scriptpubkey_address
                ? addressLink(input.prevout.scriptpubkey_address, { copy: true })
                : "?",
              input.prevout ? amount(input.prevout.value) : null,
            ),
          ),
    ),
    h("span", { class: "ways-arrow", "aria-hidden": true }, "→"),
    h(
      "ul",
      { class: "way-side", "aria-label": "To" },
      credits(tx).map((credit) =>
        h(
          "li",
          null,
          credit.address ? addressLink(credit.address, { copy: true }) : "?",
          amount(credit.value),
        ),
      ),
      credits(tx).length === 0
        ? h("li", null, h("span", { class: "quiet" }, "Nothing was credited"))
        : null,
    ),
  );
}
