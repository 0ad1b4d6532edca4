// One transaction: where it stands, what it was to do, what became of it. It follows the
// transaction until that is final, and beyond.

import { get, Refused } from "../api.js";
import { h } from "../dom.js";
import { bytes, moment, shortened, textFromHex, whole } from "../format.js";
import { announce, notFound, onFrame, run } from "../live.js";
import {
  addressLink,
  amount,
  blockLink,
  chip,
  facts,
  finalWord,
  heightLink,
  number,
  parts,
  plainId,
  section,
  since,
  title,
} from "../parts.js";

const RECEIPT_WORDS = { atomic: "all of it or none", bundle: "each action by itself" };

function follow(id) {
  let last = null; // what the node told last
  let dropped = null; // why it dropped the transaction, if it said so

  onFrame((frame) => {
    if (frame.kind === "dropped" && frame.txid === id) dropped = frame.code;
  });

  return async () => {
    const status = await get("/moot/status");
    parts.remember(status);
    try {
      last = await get(`/moot/tx/${id}`);
      dropped = null;
    } catch (error) {
      if (!(error instanceof Refused && error.missing) || last === null) throw error;
      return { status, tx: { ...last, state: "dropped", sentence: dropped ?? "" } };
    }
    return { status, tx: last };
  };
}

const lost = (tx) => ["dropped", "displaced"].includes(tx.state);
const settled = (tx) => ["final", "confirmed", "failed"].includes(tx.state);

function timeline({ tx, status }) {
  const depth = tx.height === null ? 0 : status.head.height - tx.height + 1;
  const word = finalWord();
  const steps =
    lost(tx)
      ? [
          ["done", "Waiting", "it waited in this node’s mempool"],
          tx.state === "displaced"
            ? ["bad", "Displaced", tx.sentence]
            : [
                "bad",
                "Dropped",
                tx.sentence ? `this node dropped it: ${tx.sentence}` : "this node no longer has it",
              ],
        ]
      : [
          [
            tx.state === "pending" ? "now" : "done",
            "Waiting",
            tx.state === "pending"
              ? "in this node’s mempool, for a block"
              : "it waited for a block",
          ],
          [
            tx.height === null ? "later" : tx.ok === false ? "bad" : settled(tx) ? "done" : "now",
            tx.ok === false ? "In a block, but it failed" : "In a block",
            tx.height === null
              ? ""
              : [
                  heightLink(tx.height, tx.block),
                  tx.ok === false
                    ? ` · ${tx.sentence}`
                    : ` · ${whole(depth)} ${depth === 1 ? "block" : "blocks"} deep`,
                ],
          ],
          [
            settled(tx) ? (tx.ok === false ? "bad" : "done") : "later",
            word.charAt(0).toUpperCase() + word.slice(1),
            settled(tx)
              ? word === "final"
                ? "it stays as it is"
                : status.finality_means || "deep enough, by this node’s rule"
              : "",
          ],
        ];
  return h(
    "ol",
    { class: "timeline", "aria-label": "Where it stands" },
    steps.map(([state, name, note]) =>
      h(
        "li",
        { "data-state": state, "aria-current": state === "now" ? "step" : null },
        h("strong", null, name),
        h("span", { class: "quiet" }, note),
      ),
    ),
  );
}

function memo(hex) {
  if (hex === "") return null;
  const text = textFromHex(hex);
  return text === null
    ? h(
        "p",
        { class: "memo" },
        h("span", { class: "quiet" }, "Memo, no text: "),
        h("code", { class: "id full" }, hex),
      )
    : h("p", { class: "memo" }, h("span", { class: "quiet" }, "Memo: "), h("q", null, text));
}

const STANDING_WORDS = {
  out: "to be no member",
  learner: "to be a learner",
  voter: "to be a voter",
  withdrawn: "no vote on it any more",
};

function movedCoins(each, tx) {
  return [
    tx.sender === null
      ? h("span", { class: "quiet" }, "newly minted, and fees")
      : addressLink(tx.sender),
    h("span", { class: "arrow", "aria-label": "to" }, "→"),
    addressLink(each.recipient),
    h("span", { class: "action-amount" }, amount(each.amount)),
  ];
}

function vote(each, tx) {
  const weight = Number(each.weight) > 1 ? ` of weight ${whole(each.weight)}` : "";
  return [
    addressLink(tx.sender),
    h("span", { class: "quiet" }, "votes for"),
    addressLink(each.subject),
    each.name ? h("span", null, `(${each.name})`) : null,
    h("span", null, (STANDING_WORDS[each.standing] ?? each.standing) + weight),
  ];
}

function action(each, tx) {
  const votes = each.kind === "membership-vote";
  return h(
    "li",
    { class: each.ok === false ? "action failed" : "action" },
    h("div", { class: "action-way" }, votes ? vote(each, tx) : movedCoins(each, tx)),
    each.ok === false
      ? h("p", { class: "reason" }, chip("failed"), ` ${each.sentence || each.code}`)
      : null,
    votes ? null : memo(each.memo),
  );
}

function proofLink({ tx }) {
  if (tx.kind === "reward") return null;
  if (!settled(tx)) return h("span", { class: "quiet" }, `not yet: it is not ${finalWord()}`);
  return [
    h(
      "a",
      {
        href: `/moot/tx/${tx.txid}/proof`,
        download: `transaction-${tx.txid.slice(0, 12)}-proof.json`,
      },
      "Download",
    ),
    h("small", { class: "quiet" }, " for ", h("code", null, "moot verify")),
  ];
}

function txFacts(found) {
  const { tx } = found;
  const signed = tx.kind !== "reward";
  return facts([
    ["Id", plainId(tx.txid, "the transaction's id", { full: true, copy: true })],
    ["Block", tx.block === null ? null : blockLink(tx.block, { full: true, copy: true })],
    [
      "Time",
      tx.time_ms === null
        ? null
        : [h("span", { class: "number" }, moment(tx.time_ms)), " · ", since(tx.time_ms)],
    ],
    ["Sender", tx.sender === null ? null : addressLink(tx.sender, { full: true, copy: true })],
    ["Fee", signed ? amount(tx.fee_charged ?? tx.fee) : null],
    ["Nonce", signed ? number(whole(tx.nonce)) : null],
    [
      "Expires",
      !signed
        ? null
        : Number(tx.expiry) === 0
          ? "never"
          : ["after height ", number(whole(tx.expiry))],
    ],
    [
      "Mode",
      signed && tx.actions.length > 1
        ? [tx.mode, h("small", { class: "quiet" }, ` (${RECEIPT_WORDS[tx.mode] ?? ""})`)]
        : null,
    ],
    ["Size", number(bytes(tx.size))],
    [
      "Receipt",
      tx.ok === null || !signed
        ? null
        : tx.ok
          ? "everything was done"
          : [tx.sentence || tx.code, h("small", { class: "quiet" }, ` (${tx.code})`)],
    ],
    ["Place in the block", tx.index === null ? null : number(whole(tx.index))],
    ["Proof", proofLink(found)],
  ]);
}

export function start(subject) {
  const id = subject.toLowerCase();
  let said = "";
  title(`Transaction ${shortened(id)}`);
  run({
    kinds: ["head", "final", "transaction", "dropped"],
    load: follow(id),
    show: (found) => {
      const { tx } = found;
      if (said !== tx.state) announce(`Transaction: ${tx.state}`);
      said = tx.state;
      const moves = tx.actions.filter((each) => each.kind !== "membership-vote");
      const total = moves.reduce(
        (sum, each) => (each.ok === false ? sum : sum + BigInt(each.amount)),
        0n,
      );
      return [
        h("h1", null, tx.kind === "reward" ? "Block reward " : "Transaction ", chip(tx.state)),
        moves.length ? h("p", { class: "balance" }, amount(total)) : null,
        timeline(found),
        section(
          tx.actions.length > 1 ? `${whole(tx.actions.length)} actions` : "What it does",
          h(
            "ul",
            { class: "actions" },
            tx.actions.map((each) => action(each, tx)),
          ),
        ),
        section("Facts", txFacts(found)),
      ];
    },
    missing: notFound,
  });
}
