// The parts that pages are made of: ids, amounts, times, chips, tables, notices.

import { h } from "./dom.js";
import { ago, coins, label, moment, shortAddress, shortened, whole } from "./format.js";

/** What the pages learned of the node, for the parts that need it. */
export const parts = {
  status: null,
  remember(status) {
    // Another chain on the old port: nothing that stands here is true any more.
    if (this.status !== null && this.status.chain_id !== status.chain_id) location.reload();
    this.status = status;
  },
};

/** The word for a block below which nothing is taken back: the engine's own. */
export function finalWord() {
  return parts.status?.finality ?? "final";
}

export function title(text) {
  document.title = `${text} · Moot`;
}

export function copyButton(value, what) {
  return h(
    "button",
    {
      type: "button",
      class: "copy",
      "data-copy": value,
      "aria-label": `Copy ${what}`,
      title: `Copy ${what}`,
    },
    h("span", { class: "copy-mark", "aria-hidden": true }),
  );
}

/** An id that may be long: shortened in the middle, whole in its title and for copying. */
export function id(value, href, what, { full = false, copy = false, short = shortened } = {}) {
  const text = full ? value : short(value);
  const inner = href
    ? h("a", { href, title: full ? null : value }, text)
    : h("span", { title: full ? null : value }, text);
  return h(
    "span",
    { class: full ? "id full" : "id" },
    inner,
    copy ? copyButton(value, what) : null,
  );
}

export const blockLink = (value, options) =>
  id(value, `/block/${value}`, "the block's id", options);
export const txLink = (value, options) =>
  id(value, `/tx/${value}`, "the transaction's id", options);
export const addressLink = (value, options) =>
  id(value, `/address/${value}`, "the address", { short: shortAddress, ...options });
export const plainId = (value, what, options) => id(value, null, what, options);

export function heightLink(height, blockId) {
  return h(
    "a",
    { href: blockId ? `/block/${blockId}` : `/block-height/${height}`, class: "number" },
    whole(height),
  );
}

/** An amount of base units, in coins. */
export function amount(units, sign = "") {
  return h(
    "span",
    { class: "amount" },
    h("span", { class: "number" }, sign + coins(units)),
    " ",
    h("span", { class: "unit" }, "coins"),
  );
}

export function number(text) {
  return h("span", { class: "number" }, text);
}

/** How long ago; ticks by itself. */
export function since(ms) {
  return h(
    "time",
    { datetime: new Date(ms).toISOString(), title: moment(ms), "data-ms": ms },
    ago(ms, Date.now()),
  );
}

const CHIPS = {
  final: ["final", "good"],
  confirmed: ["confirmed", "good"],
  head: ["not final yet", "open"],
  committed: ["in a block", "open"],
  pending: ["waiting", "open"],
  failed: ["failed", "bad"],
  side: ["side branch", "bad"],
  dropped: ["dropped", "bad"],
  displaced: ["displaced", "bad"],
  abreast: ["abreast", "good"],
  "catching up": ["catching up", "open"],
  unknown: ["unknown", "quiet"],
};

/** A status in one word. `state`: one of the API's. */
export function chip(state) {
  let [text, tone] = CHIPS[state] ?? [state, "quiet"];
  if (state === "final") text = finalWord();
  if (state === "head") text = `not ${finalWord()} yet`;
  return h("span", { class: "chip", "data-tone": tone, "data-state": state }, text);
}

/** The chip of a block on the best chain, by its height. */
export function heightChip(height, finalHeight) {
  return chip(height <= finalHeight ? "final" : "head");
}

/** A list of facts: [label, content] pairs; those without content are left out. */
export function facts(pairs, className = "facts") {
  return h(
    "dl",
    { class: className },
    pairs
      .filter(([, content]) => content !== null && content !== undefined && content !== "")
      .map(([name, content]) =>
        h("div", { "data-key": name }, h("dt", null, name), h("dd", null, content)),
      ),
  );
}

/** A figure: a large value with a small label. */
export function figure(name, value, note) {
  return h(
    "div",
    { class: "figure", "data-key": name },
    h("dt", null, name),
    h("dd", null, h("span", { class: "number" }, value), note ? h("small", null, " ", note) : null),
  );
}

export function section(heading, ...content) {
  return h("section", { class: "part", "data-key": heading }, h("h2", null, heading), content);
}

export function empty(text) {
  return h("p", { class: "empty" }, text);
}

/**
 * A table that becomes a list of cards where it is narrow. `columns`: [{name, cell, end}], where
 * `cell(row)` gives the content and `end` aligns numbers. `tight`: small enough to stay a table.
 */
export function table(caption, columns, rows, { keyOf = null, tight = false } = {}) {
  return h(
    "table",
    { class: tight ? "grid tight" : "grid" },
    h("caption", { class: "hidden" }, caption),
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        columns.map((c) => h("th", { scope: "col", class: c.end ? "end" : null }, c.name)),
      ),
    ),
    h(
      "tbody",
      null,
      rows.map((row, index) =>
        h(
          "tr",
          { "data-key": keyOf ? keyOf(row) : String(index) },
          columns.map((c) =>
            h(
              "td",
              { "data-name": c.name, class: c.end ? "end" : null },
              h("div", { class: "cell" }, c.cell(row)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** A value of an engine's own table or facts: numbers grouped, long words shortened. */
export function word(value) {
  if (typeof value === "number" || /^-?\d{1,30}$/.test(String(value))) return number(whole(value));
  const text = String(value);
  if (text === "yes") return h("span", { class: "mark", "data-tone": "good" }, "yes");
  if (text === "-") return h("span", { class: "mark", "data-tone": "quiet" }, "–");
  return /^\S{25,}$/.test(text)
    ? plainId(text, "the value", { copy: true })
    : h("span", null, text);
}

export { label };
