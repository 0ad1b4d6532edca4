// Breaking a development network by hand: buttons that the node passes on to the `moot devnet`
// that started it. On any other network this shows nothing.

import { get, Offline, post, Refused } from "./api.js";
import { h, update } from "./dom.js";

const LOOK_MS = 2_000;
const GONE = "This page’s node is gone: go on from another one, or with moot fault.";

/** The section. It keeps its own state, and is hidden where there is no devnet to break. */
export function makeDevtools() {
  const answer = h("p", { class: "answer", role: "status" });
  const list = h("ul", { class: "members devtools-nodes" });
  const everyone = h("div", { class: "devtools-all" });
  const part = h(
    "section",
    { class: "part devtools", "data-keep": true, "data-key": "devtools", hidden: true },
    h("h2", null, "Break it"),
    h("p", { class: "quiet" }, "A devnet on your own machine: break its nodes, and mend them."),
    everyone,
    list,
    answer,
  );
  let busy = false;
  let shown = "";

  async function give(action, nodes) {
    if (busy) return;
    busy = true;
    update(answer, "…");
    try {
      const outcome = await post("/moot/devnet/fault", { action, nodes });
      show(outcome.nodes);
      update(answer, sentence(outcome.sentence));
    } catch (error) {
      if (error instanceof Refused) update(answer, sentence(error.message));
      else if (error instanceof Offline) update(answer, GONE);
      else throw error;
    } finally {
      busy = false;
    }
  }

  function button(text, action, ...nodes) {
    const made = h("button", { type: "button", "data-key": `${action} ${nodes.join(" ")}` }, text);
    made.addEventListener("click", () => give(action, nodes));
    return made;
  }

  function node({ name, url, state, cut }) {
    const here = url === location.origin;
    const down = state === "killed";
    return h(
      "li",
      { "data-key": name, class: state === "running" ? "member" : "member missing" },
      h("span", { class: "member-dot", "aria-hidden": true }),
      h(
        "span",
        { class: "member-who" },
        h("strong", null, here || down ? name : h("a", { href: `${url}/consensus` }, name)),
        h(
          "span",
          { class: "quiet" },
          [
            state,
            here ? ", this page’s node" : "",
            cut.length > 0 ? `, cut from ${cut.join(", ")}` : "",
          ],
        ),
      ),
      h(
        "span",
        { class: "member-marks" },
        down ? button("Start", "restart", name) : button("Kill", "kill", name),
        down ? null : pausing(name, state),
        cut.length > 0 ? button("Heal", "heal", name) : button("Cut off", "cut", name),
      ),
    );
  }

  function pausing(name, state) {
    if (state === "paused") return button("Resume", "resume", name);
    return button("Pause", "pause", name);
  }

  function show(nodes) {
    shown = JSON.stringify(nodes);
    part.hidden = nodes.length === 0;
    update(
      everyone,
      button("Kill the leader", "kill", "leader"),
      " ",
      button("Heal all links", "heal"),
    );
    // The buttons of one row say different things at different times: they are made anew.
    const focused = document.activeElement;
    const held = list.contains(focused) ? focused.closest("li") : null;
    list.replaceChildren(...nodes.map(node));
    // Whoever works with the keyboard stays in the row.
    if (held !== null) list.querySelector(`[data-key="${held.dataset.key}"] button`)?.focus();
  }

  async function look() {
    if (busy || document.hidden) return;
    try {
      const { nodes } = await get("/moot/devnet");
      if (JSON.stringify(nodes) !== shown) show(nodes);
    } catch (error) {
      // The page says above that its node does not answer.
      if (!(error instanceof Offline || error instanceof Refused)) throw error;
    }
  }
  look().then(() => {
    if (!part.hidden) setInterval(look, LOOK_MS);
  });
  return part;
}

function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}
