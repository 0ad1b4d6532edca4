// The search page: asks the node what the words mean and goes there, or says it found nothing.

import { get } from "../api.js";
import { h } from "../dom.js";
import { run } from "../live.js";
import { title } from "../parts.js";

const OURS = /^\/(block|tx|address)\/[0-9a-z]+$/i;

/** The page that a search leads to; null: nothing fits. */
async function find(words) {
  const { target } = await get(`/moot/search?q=${encodeURIComponent(words)}`);
  return OURS.test(target) ? target : null;
}

export function start(words) {
  title(words ? `Search: ${words}` : "Search");
  run({
    kinds: [],
    load: async () => {
      const path = words === "" ? null : await find(words);
      if (path !== null) location.replace(path);
      return path;
    },
    show: (path) =>
      path !== null
        ? h("p", { class: "notice" }, "Found; going there …")
        : h(
            "section",
            { class: "notice", id: "nothing-found" },
            h("h1", null, words === "" ? "Search for what?" : "Nothing found"),
            words === ""
              ? null
              : h(
                  "p",
                  null,
                  "Nothing on this node is called ",
                  h("q", { class: "id full" }, words),
                  ".",
                ),
            h(
              "p",
              { class: "quiet" },
              "Search takes a height, a block or transaction id (64 hex digits), or an address.",
            ),
            h("p", null, h("a", { href: "/" }, "Back to the chain")),
          ),
  });
}
