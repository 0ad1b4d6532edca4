// The peers: who is linked, how far they are, how quick the link is.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, span, whole } from "../format.js";
import { run } from "../live.js";
import { addressLink, chip, empty, figure, number, section, since, table } from "../parts.js";

const COLUMNS = [
  {
    name: "Node",
    cell: (peer) => [addressLink(peer.node), h("small", { class: "quiet block" }, peer.agent)],
  },
  {
    name: "Link",
    cell: (peer) => [
      h("span", { class: "number" }, `${peer.host}:${peer.port}`),
      h("small", { class: "quiet block" }, peer.outbound ? "we dialled" : "they dialled"),
    ],
  },
  { name: "Head", end: true, cell: (peer) => number(whole(peer.height)) },
  { name: "Final", end: true, cell: (peer) => number(whole(peer.finalized_height)) },
  {
    name: "Round trip",
    end: true,
    cell: (peer) => number(peer.latency_ms === null ? "–" : span(peer.latency_ms)),
  },
  { name: "In", end: true, cell: (peer) => number(bytes(peer.bytes_in)) },
  { name: "Out", end: true, cell: (peer) => number(bytes(peer.bytes_out)) },
  { name: "Linked", end: true, cell: (peer) => since(peer.connected_ms) },
  { name: "Score", end: true, cell: (peer) => number(String(peer.score)) },
];

export function start() {
  run({
    kinds: ["peer", "head"],
    load: async () => {
      const [status, { peers }] = await Promise.all([get("/moot/status"), get("/moot/peers")]);
      return { status, peers };
    },
    show: ({ status, peers }) => [
      h("h1", null, "Peers"),
      h(
        "dl",
        { class: "figures" },
        figure("Linked", whole(peers.length)),
        figure("We dialled", whole(peers.filter((peer) => peer.outbound).length)),
        figure("Our head", whole(status.head.height)),
        figure("Our node", status.syncing ? "catching up" : "abreast"),
      ),
      section(
        "Links",
        peers.length === 0
          ? empty("No peer is linked: fine for a network of one. Else see the consensus page.")
          : table("The linked peers", COLUMNS, peers, { keyOf: (peer) => peer.node }),
      ),
      section(
        "This node",
        h(
          "p",
          null,
          addressLink(status.node, { copy: true }),
          " ",
          chip(status.syncing ? "catching up" : "abreast"),
        ),
      ),
    ],
  });
}
