// The consensus state, generic over engines: their own facts, tables and words, who leads, who is
// missing, and why nothing moves if nothing moves.

import { get } from "../api.js";
import { makeDevtools } from "../devtools.js";
import { h, update } from "../dom.js";
import { whole } from "../format.js";
import { onFrame, run } from "../live.js";
import { rests } from "../rest.js";
import {
  addressLink,
  empty,
  facts,
  figure,
  label,
  number,
  parts,
  section,
  table,
  txLink,
  word,
} from "../parts.js";

const LOG_MAX = 200;
const TIGHT_COLUMNS = 5; // what a phone shows side by side
const TIGHT_CELL = 11;

function why({ status, reasons }) {
  const { healthy, sentences } = reasons;
  const trouble = rests(status, reasons);
  return h(
    "section",
    { class: trouble ? "why trouble" : "why", "aria-label": "Why it moves or does not" },
    h(
      "p",
      { class: "why-word" },
      trouble ? "It does not move as it should" : healthy ? "All is well" : "At work",
    ),
    sentences.length === 1 && healthy
      ? h(
          "p",
          null,
          sentences[0].replace(/^All is well: (.)/, (_, first) => first.toUpperCase()),
        )
      : h(
          "ul",
          null,
          sentences.map((sentence) => h("li", null, sentence)),
        ),
  );
}

function validators({ validators: members, leader, engine }) {
  if (members.length === 0) {
    return empty(`${engine} has no members: whoever follows the rules may take part.`);
  }
  const total = members.reduce((sum, member) => sum + BigInt(member.weight), 0n);
  return h(
    "ul",
    { class: "members" },
    members.map((member) =>
      h(
        "li",
        {
          "data-key": member.address,
          class: member.missing
            ? "member missing"
            : member.address === leader
              ? "member leader"
              : "member",
        },
        h("span", { class: "member-dot", "aria-hidden": true }),
        h(
          "span",
          { class: "member-who" },
          h("strong", null, member.name || "unnamed"),
          addressLink(member.address),
        ),
        h(
          "span",
          { class: "member-marks" },
          member.address === leader
            ? h("span", { class: "chip", "data-tone": "lead" }, "leads")
            : null,
          member.missing ? h("span", { class: "chip", "data-tone": "bad" }, "missing") : null,
          total === BigInt(members.length)
            ? null
            : h("span", { class: "quiet number" }, `weight ${whole(member.weight)}`),
        ),
      ),
    ),
  );
}

/** A table of the engine's own. Its key is none of the page's: whatever an engine calls it. */
export function engineTable(name, rows) {
  const part = section(label(name), engineRows(name, rows));
  part.dataset.key = `engine ${name}`;
  return part;
}

function engineRows(name, rows) {
  if (rows.length === 0) return empty("Nothing at the moment.");
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const shapes = columns.map((column) => ({
    name: label(column),
    end: rows.every((row) => typeof row[column] === "number"),
    cell: (row) => word(row[column] ?? "-"),
  }));
  const longest = Math.max(
    ...rows.flatMap((row) => Object.values(row)).map((v) => String(v).length),
  );
  const tight = columns.length <= TIGHT_COLUMNS && longest <= TIGHT_CELL;
  return table(label(name), shapes, rows, { tight });
}

// The members as the newest block has them, where that differs from who decides now, and what is
// voted on.
function changes({ members, wishes, joint, change, lag }) {
  if (change === "none" || members.length === 0) return null;
  const coming = members.filter(
    (member) => (member.standing === "voter") !== member.decides || member.standing === "learner",
  );
  const notes = {
    voter: `votes from at most ${whole(lag)} blocks later on`,
    learner: "is a learner: it follows, without a vote",
    leaving: "leaves with the joint configuration",
  };
  const rows = wishes.map((wish) => ({
    subject: wish.subject,
    wish: wish.standing === "out" ? "leaves" : `be a ${wish.standing}`,
    votes: `${whole(wish.votes.length)} of ${whole(wish.needed)}`,
    by: wish.votes.map((vote) => vote.name || vote.voter).join(", "),
  }));
  const columns = [
    { name: "Subject", cell: (row) => addressLink(row.subject) },
    { name: "Shall", cell: (row) => row.wish },
    { name: "Votes", end: true, cell: (row) => row.votes },
    { name: "Of", cell: (row) => row.by },
  ];
  return section(
    "Changes of the members",
    joint ? h("p", null, "A change is under way: old and new members decide together.") : null,
    coming.map((member) =>
      h(
        "p",
        { "data-key": `coming-${member.address}` },
        h("strong", null, member.name || "unnamed"),
        " ",
        addressLink(member.address),
        ` ${notes[member.standing] ?? ""}`,
      ),
    ),
    rows.length === 0
      ? empty("No votes are open.")
      : table("Open votes", columns, rows, { keyOf: (row) => `${row.subject} ${row.wish}` }),
  );
}

function figures(found) {
  const { consensus, status } = found;
  const voters = consensus.validators.filter((member) => Number(member.weight) > 0);
  const missing = consensus.validators.filter((member) => member.missing).length;
  return h(
    "dl",
    { class: "figures" },
    figure("Engine", consensus.engine),
    consensus.validators.length > 0 ? figure("Round", whole(consensus.round)) : null,
    figure("Head", whole(status.head.height)),
    figure(status.finality === "final" ? "Final" : "Confirmed", whole(status.finalized.height)),
    consensus.validators.length > 0
      ? figure("Quorum", `${whole(consensus.quorum)} of ${whole(voters.length)}`)
      : null,
    consensus.validators.length > 0 ? figure("Faults borne", whole(consensus.faults)) : null,
    consensus.validators.length > 0 ? figure("Missing", whole(missing)) : null,
    figure("Evidence", whole(consensus.evidence)),
  );
}

function claims({ properties }) {
  return facts([
    ["Fault model", properties.fault_model],
    ["Synchrony", properties.synchrony],
    ["Finality", properties.finality],
    ["Members", properties.permissioned ? "those that the chain lists" : "anyone"],
    ["Needs", properties.needs],
    ...(properties.confirmed ? [["Confirmed means", properties.confirmed]] : []),
  ]);
}

const DISPLACED = [
  { name: "Transaction", cell: (tx) => txLink(tx.txid) },
  { name: "Was at height", end: true, cell: (tx) => number(whole(tx.height)) },
  { name: "Why", cell: (tx) => tx.sentence },
  { name: "In its place", cell: (tx) => (tx.rival ? txLink(tx.rival) : "-") },
];

/** Where nothing is final: what a branch that lost had taken, and the winning one cannot take. */
function displacedSection({ properties }, displaced) {
  if (properties.finalizes) return null;
  return section(
    "Displaced transactions",
    displaced.length === 0
      ? empty("None: whatever left the chain with a branch that lost was included again.")
      : table("Displaced transactions, newest first", DISPLACED, displaced.toReversed(), {
          keyOf: (tx) => tx.txid,
        }),
  );
}

/** The log of what the engine does; it keeps its own state, and can be held still for reading. */
function makeLog() {
  const list = h("ol", {
    class: "log-lines",
    tabindex: 0,
    "aria-label": "What the engine did, newest first",
  });
  const button = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const note = h(
    "span",
    { class: "quiet", role: "status" },
    "Waiting for the engine to do something …",
  );
  let paused = false;
  let missed = 0;
  button.addEventListener("click", () => {
    paused = !paused;
    missed = 0;
    button.setAttribute("aria-pressed", String(paused));
    update(button, paused ? "Go on" : "Pause");
    update(note, paused ? "Paused." : "");
  });
  onFrame((frame) => {
    if (frame.kind !== "consensus") return;
    if (paused) {
      missed += 1;
      update(note, `Paused; ${whole(missed)} more since.`);
      return;
    }
    update(note, "");
    list.prepend(logLine(frame));
    while (list.children.length > LOG_MAX) list.lastElementChild.remove();
  });
  return h(
    "section",
    { class: "part log", "data-keep": true, "data-key": "log" },
    h("div", { class: "log-head" }, h("h2", null, "What it does"), note, button),
    list,
  );
}

function logLine(frame) {
  const time = new Date();
  return h(
    "li",
    null,
    h(
      "time",
      { datetime: time.toISOString(), class: "number" },
      time.toLocaleTimeString([], { hour12: false }),
    ),
    h("strong", null, frame.name),
    h(
      "span",
      { class: "log-fields" },
      Object.entries(frame.fields ?? {}).map(([name, value]) => [
        h("span", { class: "quiet" }, name),
        " ",
        word(value),
        " ",
      ]),
    ),
  );
}

export function start() {
  const log = makeLog();
  const tools = makeDevtools();
  run({
    kinds: ["head", "final", "consensus", "peer"],
    load: async () => {
      const [status, consensus, reasons, { displaced }, members] = await Promise.all([
        get("/moot/status"),
        get("/moot/consensus"),
        get("/moot/why"),
        get("/moot/displaced"),
        get("/moot/members"),
      ]);
      parts.remember(status);
      // Under engines that never have a leader there is none to kill.
      if (consensus.leader !== null) tools.dataset.led = "";
      return { status, consensus, reasons, displaced, members };
    },
    show: (found) => {
      const { consensus } = found;
      return [
        h("h1", null, "Consensus"),
        why(found),
        figures(found),
        section("Members", validators(consensus)),
        changes(found.members),
        tools.isConnected ? tools.cloneNode(false) : tools,
        Object.entries(consensus.tables).map(([name, rows]) => engineTable(name, rows)),
        section(
          `In ${consensus.engine}’s own words`,
          facts(
            Object.entries(consensus.facts).map(([name, value]) => [label(name), word(value)]),
            "facts close",
          ),
        ),
        displacedSection(consensus, found.displaced),
        log.isConnected ? log.cloneNode(false) : log,
        section("What it promises", claims(consensus)),
      ];
    },
  });
}
