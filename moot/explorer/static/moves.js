// Transactions as Esplora's JSON tells them, under the account model: each debit is a `vin` whose
// prevout names the sender, each credit a `vout`; a block's reward is its coinbase.

import { h } from "./dom.js";
import { addressLink, amount, chip, heightChip, since, txLink } from "./parts.js";

export const isReward = (tx) => tx.vin.some((input) => input.is_coinbase);

export const sender = (tx) => tx.vin.find((input) => input.prevout)?.prevout.scriptpubkey_address ?? null;

/** Credits as [{address, value}]. */
export function credits(tx) {
  return tx.vout.map((output) => ({ address: output.scriptpubkey_address ?? null, value: BigInt(output.value) }));
}

export const moved = (tx) => credits(tx).reduce((sum, credit) => sum + credit.value, 0n);

/** What a transaction does to one address's balance, in base units. */
export function effectOn(tx, address) {
  let sum = 0n;
  for (const input of tx.vin) if (input.prevout?.scriptpubkey_address === address) sum -= BigInt(input.prevout.value);
  for (const credit of credits(tx)) if (credit.address === address) sum += credit.value;
  return sum;
}

function others(tx) {
  const list = [...new Set(credits(tx).map((credit) => credit.address).filter(Boolean))];
  if (list.length === 0) return h("span", { class: "quiet" }, "nobody");
  return [addressLink(list[0]), list.length > 1 ? h("span", { class: "quiet" }, ` and ${list.length - 1} more`) : null];
}

/** One transaction in a list. `about`: the address whose point of view it is told from. */
export function transactionRow(tx, { finalHeight, about = null, showState = true } = {}) {
  const from = sender(tx);
  const effect = about === null ? moved(tx) : effectOn(tx, about);
  const sign = about === null || effect === 0n ? "" : effect > 0n ? "+" : "";
  const failed = tx.status.confirmed && tx.vout.length === 0 && !isReward(tx);
  const place = tx.status.confirmed ? heightChip(tx.status.block_height, finalHeight) : chip("pending");
  const state = failed ? chip("failed") : showState ? place : null;
  return h(
    "li",
    { class: "move", "data-key": tx.txid, "data-txid": tx.txid },
    h(
      "div",
      { class: "move-what" },
      isReward(tx) ? h("span", { class: "id" }, "Block reward") : txLink(tx.txid),
      h(
        "span",
        { class: "move-way" },
        isReward(tx) ? null : [from === null ? "?" : addressLink(from), h("span", { class: "arrow", "aria-label": "to" }, " → ")],
        others(tx),
      ),
    ),
    h(
      "div",
      { class: "move-much" },
      h("span", { class: "way", "data-way": sign === "" && effect >= 0n ? null : effect < 0n ? "out" : "in" }, amount(effect, sign)),
      h(
        "span",
        { class: "move-when" },
        tx.status.confirmed ? since(tx.status.block_time * 1000) : null,
        state,
      ),
    ),
  );
}

export function transactionList(list, options) {
  return h("ul", { class: "moves" }, list.map((tx) => transactionRow(tx, options)));
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
              input.prevout?.scriptpubkey_address ? addressLink(input.prevout.scriptpubkey_address, { copy: true }) : "?",
              input.prevout ? amount(input.prevout.value) : null,
            ),
          ),
    ),
    h("span", { class: "ways-arrow", "aria-hidden": true }, "→"),
    h(
      "ul",
      { class: "way-side", "aria-label": "To" },
      credits(tx).map((credit) =>
        h("li", null, credit.address ? addressLink(credit.address, { copy: true }) : "?", amount(credit.value)),
      ),
      credits(tx).length === 0 ? h("li", null, h("span", { class: "quiet" }, "Nothing was credited")) : null,
    ),
  );
}

