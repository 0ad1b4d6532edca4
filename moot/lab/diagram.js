"use strict";
// A sequence diagram of one trace: rows run down with time, nodes are columns. Only what is in
// view is drawn, so that long traces stay quick.

const trace = JSON.parse(document.getElementById("trace").textContent);
const nodes = trace.header.nodes;
const events = trace.events.map(
  ([number, at, kind, node, what, peer, cause, fields]) =>
    ({ number, at, kind, node, what, peer, cause, fields }));

const ROW = 22, TOP = 14, LEFT = 84;
const MARK = { timer: "⏱", import: "block", reject: "refused", persist: "saved", head: "head",
  final: "final", trace: "", start: "start", crash: "crash", pause: "paused", resume: "goes on",
  fault: "fault", violation: "violation" };
const COLOUR = { final: "--final", head: "--head", crash: "--bad", start: "--final",
  cut: "--bad", heal: "--final", pause: "--bad", resume: "--final", fault: "--bad", violation: "--bad", reject: "--bad" };
const TOLD = { send: "sent", receive: "got", timer: "timer", import: "imported a block",
  start: "started", crash: "crashed", final: "final", head: "moved its head" };
const FAULTS = ["crash", "pause", "cut", "fault"];
const QUIET_KINDS = ["timer", "persist", "import", "trace"];
const QUIET_MESSAGES = ["Status", "AnnounceTransactions", "GetTransactions", "Transactions",
  "GetHeads", "Heads"];

const NODE_MESSAGES = ["AnnounceBlock", "BlockBody", "EvidenceFound", "FinalityProof", "GetBlocks",
  "NoBlocks", ...QUIET_MESSAGES];

const $ = (id) => document.getElementById(id);
const escape = (text) => String(text).replace(/[&<>"]/g,
  (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const isMessage = (event) => event.kind === "send" || event.kind === "receive";
const words = (fields) =>
  Object.entries(fields).map(([name, value]) => `${name} ${value}`).join(", ");
const shorten = (text, room) => text.length <= room ? text : text.slice(0, room - 1) + "…";

// ------------------------------------------------------------------------------- what is shown

// The engine's own messages get the first, most different colours.
const messageTypes = [...new Set(events.filter(isMessage).map((e) => e.what))].sort(
  (one, other) => NODE_MESSAGES.indexOf(one) - NODE_MESSAGES.indexOf(other));
const countOf = new Map();
for (const event of events) {
  const name = isMessage(event) ? "message:" + event.what : event.kind;
  if (event.kind !== "receive") countOf.set(name, (countOf.get(name) || 0) + 1);
}
const shown = new Map([...countOf.keys()].map((name) => [name, isShownAtFirst(name)]));
// An event can be shown alone where nothing but quiet ones is there to see.
if (![...shown.values()].some(Boolean)) for (const name of shown.keys()) shown.set(name, true);

function isShownAtFirst(name) {
  return name.startsWith("message:") ? !QUIET_MESSAGES.includes(name.slice(8))
    : !QUIET_KINDS.includes(name);
}

const colourOf = (type) => `var(--c${messageTypes.indexOf(type) % 8})`;

const scroll = $("scroll"), picture = $("picture");
let rows = [];            // rows of events that share a moment and get in nobody's way
let rowOf = new Map();    // number of an event -> row
let arrows = [];          // {from, to, y1, y2, what, label, lost, send, receive}
let lives = [];           // pieces of lifelines: {node, from, to, up}
let now = 0;
let chosenCause = 0;

function layOut() {
  rows = []; rowOf = new Map(); arrows = []; lives = [];
  let row = null, used = null, lastSend = null;
  for (const event of events) {
    const name = isMessage(event) ? "message:" + event.what : event.kind;
    if (!shown.get(name)) continue;
    const together = lastSend && event.kind === "send" && sameMessage(lastSend, event);
    const fits = row && row.at === event.at && event.node && row.node !== "" &&
      (together || !used.has(event.node));
    if (!fits) {
      row = { at: event.at, node: event.node, events: [] };
      used = new Set();
      rows.push(row);
    }
    row.events.push(event);
    used.add(event.node);
    rowOf.set(event.number, rows.length - 1);
    lastSend = event.kind === "send" ? event : lastSend;
  }
  layOutArrows();
  layOutLives();
  $("scrub").max = Math.max(0, rows.length - 1);
  picture.setAttribute("height", TOP * 2 + rows.length * ROW);
  drawTicks();
}

function sameMessage(one, other) {
  return one.at === other.at && one.node === other.node && one.what === other.what &&
    words(one.fields) === words(other.fields);
}

function layOutArrows() {
  const arrived = new Map();
  for (const event of events) {
    if (event.kind === "receive" && event.cause && rowOf.has(event.number)) {
      const list = arrived.get(event.cause) || [];
      list.push(event);
      arrived.set(event.cause, list);
    }
  }
  let last = null;
  for (const event of events) {
    if (event.kind !== "send" || !rowOf.has(event.number)) continue;
    const label = last && sameMessage(last, event) ? "" : event.what + shortFields(event.fields);
    last = event;
    const got = arrived.get(event.number) || [null];
    got.forEach((receive, index) => arrows.push({
      from: event.node, to: event.peer, what: event.what, label: index ? "" : label,
      y1: rowOf.get(event.number), lost: !receive, send: event.number,
      y2: receive ? rowOf.get(receive.number) : rowOf.get(event.number),
      receive: receive ? receive.number : 0 }));
  }
}

function shortFields(fields) {
  const parts = Object.entries(fields).filter(([, value]) => value !== "yes" && value !== "no")
    .map(([name, value]) => name === "height" ? `h${value}`
      : ["view", "term", "round"].includes(name) ? `${name[0]}${value}` : String(value))
    .slice(0, 3);
  return parts.length ? " " + parts.join(" ") : "";
}

function layOutLives() {
  for (const node of nodes) {
    const own = events.filter((e) => e.node === node);
    let up = !(own.length && own[0].kind === "start"), from = 0;
    for (const event of events) {
      if (event.node !== node || !["start", "crash"].includes(event.kind)) continue;
      const at = rowOf.get(event.number);
      if (at === undefined || (event.kind === "start") === up) continue;
      lives.push({ node, from, to: at, up });
      from = at; up = event.kind === "start";
    }
    lives.push({ node, from, to: rows.length, up });
  }
}

// ------------------------------------------------------------------------------------ drawing

let column = 120;
const x = (node) => LEFT + (nodes.indexOf(node) + 0.5) * column;
const y = (row) => TOP + (row + 0.5) * ROW;

function draw() {
  const width = Math.max(scroll.clientWidth - 2, LEFT + nodes.length * 84);
  column = (width - LEFT) / nodes.length;
  picture.setAttribute("width", width);
  const first = Math.floor((scroll.scrollTop - TOP) / ROW) - 2;
  const last = first + Math.ceil(scroll.clientHeight / ROW) + 4;
  const parts = [];
  if (rows.length) {
    parts.push(`<rect class="row-now" x="0" y="${y(now) - ROW / 2}" width="${width}"
      height="${ROW}"/>`);
  }
  for (const life of lives) {
    if (life.to < first || life.from > last) continue;
    parts.push(`<line class="life ${life.up ? "" : "gone"}" x1="${x(life.node)}"
      x2="${x(life.node)}" y1="${y(Math.max(life.from, first - 1))}"
      y2="${y(Math.min(life.to, last + 1))}"/>`);
  }
  for (const arrow of arrows) {
    if (Math.max(arrow.y1, arrow.y2) >= first && arrow.y1 <= last) parts.push(drawArrow(arrow));
  }
  for (let index = Math.max(0, first); index <= Math.min(last, rows.length - 1); index++) {
    parts.push(drawRow(rows[index], index));
  }
  for (const arrow of arrows) {
    if (arrow.label && arrow.y1 >= first && arrow.y1 <= last) parts.push(drawLabel(arrow));
  }
  picture.innerHTML = parts.join("");
  $("heads").style.setProperty("width", "100%");
  drawHeads();
}

function drawArrow(arrow) {
  if (!nodes.includes(arrow.to)) return "";
  const x1 = x(arrow.from), y1 = y(arrow.y1);
  let x2 = x(arrow.to), y2 = y(arrow.y2);
  const later = arrow.y1 > now ? "later" : "", colour = colourOf(arrow.what);
  const chosen = chosenCause && arrow.receive === chosenCause ? "cause" : "";
  if (arrow.lost) {
    x2 = x1 + (x2 - x1) * 0.62;
    y2 = y1 + ROW * 0.45;
    return `<g class="${later}"><line class="msg lost" style="stroke:${colour}" x1="${x1}"
      y1="${y1}" x2="${x2}" y2="${y2}"/><path class="cross" d="M${x2 - 4} ${y2 - 4}l8 8m0 -8l-8 8"/>
      </g>`;
  }
  // In flight: drawn up to where it has come by now.
  let part = 1;
  if (arrow.y1 <= now && arrow.y2 > now) part = (now - arrow.y1 + 0.5) / (arrow.y2 - arrow.y1 + 0.5);
  const ex = x1 + (x2 - x1) * part, ey = y1 + (y2 - y1) * part;
  const angle = Math.atan2(y2 - y1, x2 - x1) * 180 / Math.PI;
  return `<g class="${later}"><line class="msg ${chosen}" style="stroke:${colour}" x1="${x1}"
    y1="${y1}" x2="${ex}" y2="${ey}"/><path d="M0 0l-9 -3.6v7.2z" style="fill:${colour}"
    transform="translate(${ex} ${ey}) rotate(${angle})"/></g>`;
}

function drawLabel(arrow) {
  const right = arrows.some((other) => other.send >= arrow.send && other.y1 === arrow.y1 &&
    other.from === arrow.from && nodes.indexOf(other.to) > nodes.indexOf(arrow.from));
  const room = Math.max(6, Math.floor((column - 18) / 5.9));
  return `<text class="tag ${arrow.y1 > now ? "later" : ""} ${arrow.y1 === now ? "on-now" : ""}"
    x="${x(arrow.from) + (right ? 8 : -8)}" y="${y(arrow.y1) - 4}"
    text-anchor="${right ? "start" : "end"}" style="fill:${colourOf(arrow.what)}"
    >${escape(shorten(arrow.label, room))}</text>`;
}

function drawRow(row, index) {
  const later = index > now ? "later" : "", middle = y(index) + 4;
  const parts = [`<g class="${later}">`];
  const before = index ? rows[index - 1].at : -1;
  if (row.at !== before) {
    parts.push(`<text class="time" x="${LEFT - 22}" y="${middle}" text-anchor="end"
      >${row.at.toLocaleString("en")}</text>`);
  }
  for (const event of row.events) parts.push(drawEvent(event, index));
  return parts.join("") + "</g>";
}

function drawEvent(event, index) {
  const middle = y(index);
  if (!event.node) {
    const width = LEFT + nodes.length * column;
    const quiet = event.kind === "note";
    const text = [event.kind, event.what, words(event.fields)].filter(Boolean).join(" ");
    return `<line class="rule" style="${quiet ? "stroke:var(--line)" : ""}" x1="${LEFT - 14}"
      x2="${width}" y1="${middle}" y2="${middle}"/><text class="tag ${quiet ? "note-text" :
      "rule-text"}" x="${LEFT}" y="${middle - 4}">${escape(text)}</text>`;
  }
  const at = x(event.node);
  if (isMessage(event)) {
    const colour = colourOf(event.what);
    const hollow = event.kind === "receive" && !event.cause;
    return event.kind === "send" || hollow
      ? `<circle cx="${at}" cy="${middle}" r="3.2" style="fill:${hollow ? "none" : colour};
         stroke:${colour}"/>` : "";
  }
  const height = event.fields.height;
  const name = [MARK[event.kind] || "", event.kind === "trace" || event.kind === "fault" ||
    event.kind === "timer" || event.kind === "violation" ? event.what : "",
    height === undefined ? "" : height].filter((part) => part !== "").join(" ");
  const colour = COLOUR[event.kind];
  if (!colour) {
    return `<circle cx="${at}" cy="${middle}" r="2.2" class="quiet"/><text class="tag quiet"
      x="${at + 7}" y="${middle + 4}">${escape(shorten(name, Math.floor(column / 6.4)))}</text>`;
  }
  const label = shorten(name, Math.max(5, Math.floor(column / 6.6)));
  const width = label.length * 6.3 + 12;
  return `<rect class="chip" x="${at - width / 2}" y="${middle - 8.5}" width="${width}" height="17"
    rx="5" style="fill:var(${colour})"/><text class="chip-text" x="${at}" y="${middle + 4}"
    text-anchor="middle">${escape(label)}</text>`;
}

function drawHeads() {
  const state = new Map(nodes.map((node) => [node, { life: "up", head: 0, final: 0 }]));
  for (const life of lives) if (life.from === 0 && !life.up) state.get(life.node).life = "down";
  const until = rows.length ? rows[now].events.at(-1).number : 0;
  for (const event of events) {
    if (event.number > until) break;
    const one = state.get(event.node);
    if (!one) continue;
    if (event.kind === "crash") one.life = "down";
    if (event.kind === "start" || event.kind === "resume") one.life = "up";
    if (event.kind === "pause") one.life = "paused";
    if (event.kind === "head") one.head = event.fields.height ?? one.head;
    if (event.kind === "final") one.final = event.fields.height ?? one.final;
  }
  $("heads").innerHTML = nodes.map((node) => {
    const one = state.get(node);
    const final = countOf.has("final") ? ` · final ${one.final}` : "";
    const text = one.life !== "up" ? one.life
      : column >= 130 ? `head ${one.head}${final}`
      : countOf.has("final") ? `${one.head} / ${one.final}` : String(one.head);
    return `<div class="node ${one.life}" title="head ${one.head}${final}"
      style="left:${x(node) - scroll.scrollLeft}px"
      ><b>${escape(node)}</b><span>${text}</span></div>`;
  }).join("");
}

function drawTicks() {
  const last = Math.max(1, rows.length - 1), parts = [];
  rows.forEach((row, index) => {
    const kinds = row.events.map((event) => event.kind);
    const colour = kinds.includes("violation") ? "--bad"
      : kinds.some((kind) => FAULTS.includes(kind)) ? "--c3"
      : kinds.includes("final") ? "--final" : "";
    if (colour) {
      parts.push(`<i style="left:${100 * index / last}%;background:var(${colour})"></i>`);
    }
  });
  $("ticks").innerHTML = parts.length > 1500 ? "" : parts.join("");
}

function drawDetails() {
  const row = rows[now];
  $("when").textContent = row ? `${(row.at / 1000).toFixed(3)} s` : "nothing to show";
  $("details").innerHTML = row ? groups(row.events).map(describe).join("") : "";
  for (const button of $("details").querySelectorAll("button")) {
    button.onclick = () => follow(Number(button.dataset.cause), Number(button.dataset.from));
  }
}

function groups(list) {
  const found = [];
  for (const event of list) {
    const last = found.at(-1);
    if (last && event.kind === "send" && last[0].kind === "send" && sameMessage(last[0], event)) {
      last.push(event);
    } else found.push([event]);
  }
  return found;
}

function describe(group) {
  const event = group[0];
  const who = event.node || "network";
  const peers = group.map((one) => one.peer).join(", ");
  const told = event.kind === "send" ? `${who} sends ${event.what} to ${peers}`
    : event.kind === "receive" ? `${who} gets ${event.what} from ${event.peer}`
    : [`${who}: ${event.kind}`, event.what].filter(Boolean).join(" ");
  const facts = Object.entries(event.fields).map(
    ([name, value]) => `<dt>${escape(name)}</dt><dd class="mono">${escape(value)}</dd>`).join("");
  const cause = event.cause ? events[event.cause - 1] : null;
  const why = cause ? `<button data-cause="${event.cause}" data-from="${event.number}">because ${
    escape([cause.node, TOLD[cause.kind] || cause.kind, cause.what].filter(Boolean).join(" "))}, ${
    event.at === cause.at ? "just before" : `${event.at - cause.at} ms before`}</button>` : "";
  return `<div class="event"><b>${escape(told)}</b><dl>${facts}</dl>${why}</div>`;
}

function drawFilters() {
  const place = (name) => name.startsWith("message:") ? messageTypes.indexOf(name.slice(8)) : 1e3;
  const names = [...shown.keys()].sort((one, other) => place(one) - place(other));
  $("filters").innerHTML = names.map((name) => {
    const message = name.startsWith("message:");
    const colour = message ? colourOf(name.slice(8)) : `var(${COLOUR[name] || "--life"})`;
    return `<label class="filter"><input type="checkbox" data-name="${escape(name)}" ${
      shown.get(name) ? "checked" : ""}><i style="background:${colour}"></i>${
      escape(message ? name.slice(8) : name)}<span class="count">${countOf.get(name)}</span></label>`;
  }).join("");
  for (const box of $("filters").querySelectorAll("input")) {
    box.onchange = () => {
      const number = rows.length ? rows[now].events[0].number : 0;
      shown.set(box.dataset.name, box.checked);
      layOut();
      go(rowAt(number));
    };
  }
}

// ------------------------------------------------------------------------------------- moving

function rowAt(number) {
  let found = 0;
  rows.forEach((row, index) => { if (row.events[0].number <= number) found = index; });
  return found;
}

function go(row) {
  now = Math.max(0, Math.min(rows.length - 1, row));
  $("scrub").value = now;
  const top = y(now) - ROW, bottom = y(now) + 2 * ROW;
  if (top < scroll.scrollTop || bottom > scroll.scrollTop + scroll.clientHeight) {
    scroll.scrollTop = y(now) - scroll.clientHeight * 0.45;
  }
  draw();
  drawDetails();
}

function follow(cause, from) {
  const name = isMessage(events[cause - 1]) ? "message:" + events[cause - 1].what
    : events[cause - 1].kind;
  if (!shown.get(name)) {
    shown.set(name, true);
    layOut();
    drawFilters();
  }
  chosenCause = from;
  go(rowOf.get(cause) ?? rowAt(cause));
}

function seek(kinds, step) {
  for (let row = now + step; row >= 0 && row < rows.length; row += step) {
    if (rows[row].events.some((event) => kinds.includes(event.kind))) return go(row);
  }
}

let playing = 0;
function play(on) {
  clearInterval(playing);
  playing = 0;
  $("play").textContent = on ? "❚❚ Pause" : "▶ Play";
  if (!on) return;
  if (now >= rows.length - 1) go(0);
  playing = setInterval(() => {
    if (now >= rows.length - 1) play(false);
    else go(now + 1);
  }, 1000 / Number($("speed").value));
}

const step = (by) => { play(false); chosenCause = 0; go(now + by); };
const KEYS = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(1),
  ArrowUp: () => step(-1), PageDown: () => step(20), PageUp: () => step(-20),
  Home: () => step(-rows.length), End: () => step(rows.length), " ": () => play(!playing),
  f: () => seek(["final"], 1), F: () => seek(["final"], -1),
  x: () => seek(FAULTS, 1), X: () => seek(FAULTS, -1),
  v: () => seek(["violation"], 1), V: () => seek(["violation"], -1),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const action = KEYS[event.key];
  if (!action || (event.key === " " && event.target.tagName === "BUTTON")) return;
  event.preventDefault();
  action();
});
$("first").onclick = KEYS.Home;
$("back").onclick = KEYS.ArrowLeft;
$("on").onclick = KEYS.ArrowRight;
$("last").onclick = KEYS.End;
$("play").onclick = () => play(!playing);
$("speed").onchange = () => { if (playing) play(true); };
$("scrub").oninput = () => { play(false); go(Number($("scrub").value)); };
scroll.addEventListener("scroll", draw);
picture.addEventListener("click", (event) => {
  const top = picture.getBoundingClientRect().top;
  chosenCause = 0;
  go(Math.floor((event.clientY - top - TOP) / ROW));
});
addEventListener("resize", draw);

$("replay").textContent = trace.header.replay;
layOut();
drawFilters();
const asked = /^#at=(\d+)$/.exec(location.hash);
const violated = rows.findIndex((row) => row.events.some((event) => event.kind === "violation"));
if (asked) go(rowAt(events.filter((event) => event.at <= Number(asked[1])).length));
else go(violated >= 0 ? violated : Math.min(rows.length - 1, Math.floor(scroll.clientHeight / ROW) - 3));
