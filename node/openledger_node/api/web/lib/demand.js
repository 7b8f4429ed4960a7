// What other nodes asked for and did not get here, what would have won it, and where this node stands.
import { cliLine, says } from "./cli.js";
import { h } from "./dom.js";
import { count, short, time } from "./format.js";
import { button, note, panel } from "./parts.js";
import { setPrice } from "./price.js";
import { table } from "./table.js";

const WHY = { base: "not served", lacking: "not here", unsold: "not for sale", context: "too long", full: "queue full", dear: "too dear", lost: "bid lost" };
const SCREENS = [[/^adapters /, "#/adapters"], [/^models /, "#/models"]];
const wordsOf = (row) => row.cli?.replace(/^openledger-node /, "") ?? null;
const calls = (rows) => rows.reduce((all, row) => all + row.calls, 0);

export function drawDemand({ missed = [], standing } = {}) {
  if (!standing) return null;
  const proven = missed.filter((row) => row.is_proven), others = calls(missed.filter((row) => !row.is_proven)), line = cliLine("demand");
  return panel({ "aria-label": "Asked for and not served" }, "Asked for and not served", "in the last 24 hours",
    proven.length === 0 ? h("p", { class: "dim" }, "No call of a node that has a bond, or that has paid here, went unserved.") : table({
      caption: "Calls of other nodes that this node did not serve", rows: proven, key: (row) => `${row.adapter_id} ${row.cause} ${row.model}`,
      columns: [
        { label: "Model", head: true, cell: (row) => [short(row.model, 40), h("small", {}, WHY[row.cause] ?? row.cause)] },
        { label: "Calls", num: true, cell: (row) => count(row.calls) }, { label: "Callers", num: true, rank: 2, cell: (row) => count(row.callers) },
        { label: "Since", keep: true, rank: 2, cell: (row) => time(row.since) }, { label: "Tokens", num: true, rank: 2, cell: (row) => `${count(row.tokens_in)} + ${count(row.tokens_out)}` },
        { label: "Would have won", cell: (row) => row.wins }, { label: "", num: true, cell: (row) => act(row, line) },
      ],
    }),
    others > 0 && note("", `${count(others)} more by nodes with neither a bond nor a payment here, or for adapters that the chain does not know. They may be made up, so they lead to no advice.`),
    h("p", { class: "note12 above8" }, standingWords(standing)), line);
}

function act(row, line) {
  const words = wordsOf(row), price = words?.match(/^price set (\S+)$/)?.[1], screen = SCREENS.find(([start]) => start.test(words ?? ""))?.[1];
  if (price) return says(button(`Set price to ${price}`, () => setPrice(price), { kind: "small", key: `demand ${row.adapter_id}` }), line, words);
  if (screen) return says(h("a", { class: "button small", href: screen }, "Change…"), line, words);
  return words && says(h("button", { type: "button", class: "small", onclick: () => line.change(words) }, "Show how"), line, words);
}

function standingWords(standing) {
  const { answers, buyers, proven_after: after, proven_buyers: proven } = standing;
  const place = standing.rank === null ? "" : `Your price is place ${standing.rank} of ${standing.offers} for ${standing.model}${standing.tied ? `, shared with ${count(standing.tied)}` : ""}. `;
  const trust = buyers ? `Proven with ${count(proven)} of ${count(buyers)} buyers, after ${count(answers)} answers.` : "No buyer knows this node yet.";
  return `${place}${trust} A buyer counts a node a quarter dearer until it has measured ${after} answers. One call in ${standing.newcomer_call_one_in} tries out the node with the fewest answers, if its price is in the cheaper half.`;
}
