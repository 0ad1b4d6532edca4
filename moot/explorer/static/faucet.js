// The faucet of test networks: a form that asks the node for coins.

import { Offline, post, Refused } from "./api.js";
import { h, update } from "./dom.js";
import { amount, txLink } from "./parts.js";

/** The form. `address`: whom to give to, where the page knows it. It keeps its own state. */
export function faucetForm(address = "") {
  const answer = h("p", { class: "answer", role: "status" });
  const input = h("input", {
    name: "address",
    value: address,
    required: true,
    maxlength: 120,
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    placeholder: "Address",
    "aria-label": "Address that shall get coins",
    type: address === "" ? "text" : "hidden",
  });
  const button = h("button", { type: "submit" }, "Give me coins");
  const form = h(
    "form",
    { class: "faucet", "data-keep": true },
    h("div", { class: "faucet-row" }, input, button),
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const given = await post("/moot/faucet", { address: input.value.trim() });
      update(answer, amount(given.amount), " are on their way: ", txLink(given.txid));
    } catch (error) {
      if (error instanceof Refused) update(answer, `No coins: ${error.message}`);
      else if (error instanceof Offline)
        update(answer, "The node does not answer; try again in a moment.");
      else throw error;
    } finally {
      button.disabled = false;
    }
  });
  return form;
}
