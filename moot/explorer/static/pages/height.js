// /block-height/N: goes to the block that stands there.

import { getText } from "../api.js";
import { h } from "../dom.js";
import { notFound, run } from "../live.js";

export function start(height) {
  run({
    kinds: ["head"],
    load: async () => {
      const id = await getText(`/api/block-height/${height}`);
      location.replace(`/block/${id}`);
      return id;
    },
    show: () => h("p", { class: "notice" }, `Going to block ${height} …`),
    missing: notFound,
  });
}
