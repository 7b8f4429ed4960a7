// The checks behind the state: folded while all hold, and otherwise the failing ones first.
import { coded, h } from "./dom.js";
import { price, time } from "./format.js";
import { panel } from "./parts.js";
import { table } from "./table.js";

const NAMES = { price: "Price", reachable: "Reachable", demand: "Demand", capacity: "Capacity", limits: "Your limits", copies: "Copies", chain: "Chain", engine: "Engine" };
const SIGNS = { true: ["✓", "ok", "holds"], false: ["✕", "bad", "fails"], null: ["–", "dim", "does not apply"] };
let isOpen = false; // the fold stays as it is when the checks are drawn again

const name = (check) => NAMES[check.check] ?? check.check;

export function drawChecks({ checks, lost }) {
  if (!checks.length) return null;
  const failing = checks.filter((check) => check.ok === false), holding = checks.filter((check) => check.ok);
  const sorted = [...failing, ...checks.filter((check) => check.ok !== false)];
  const body = h("div", { class: lost.length ? "two" : "" }, h("div", { class: lost.length ? "level" : "" }, drawTable(sorted)), lost.length > 0 && drawLost(lost));
  if (failing.length) return panel({ class: "checks" }, failing.length === 1 ? `One check fails: ${name(failing[0]).toLowerCase()}` : `${failing.length} checks fail`, null, body);
  const words = holding.length ? `All checks hold: ${holding.map((check) => name(check).toLowerCase()).join(", ")}` : "No check applies now";
  return panel({ class: "checks", "aria-label": "Checks" }, null, null,
    h("details", { open: isOpen, ontoggle: (event) => { isOpen = event.target.open; } }, h("summary", { dataset: { key: "checks" } }, words), body));
}

const drawTable = (checks) => table({
  caption: "Each check of the node and its evidence", rows: checks, key: (row) => row.check,
  columns: [
    { label: "Check", head: true, tight: true, cell: name },
    { label: "", about: "Holds", tight: true, cell: (row) => { const [sign, tone, word] = SIGNS[row.ok ?? null]; return h("span", { class: tone }, h("span", { "aria-hidden": "true" }, sign), h("span", { class: "unseen" }, word)); } },
    { label: "Evidence", cell: (row) => coded(row.says) },
  ],
});

const drawLost = (lost) => h("div", {}, h("header", { class: "between" }, h("h3", {}, "Last bids lost"), h("span", { class: "note12" }, "OPEN per 1k tokens")), table({
  caption: "The last bids of this node that somebody else won", rows: lost, key: (row) => row.when,
  columns: [
    { label: "Time", head: true, keep: true, cell: (row) => time(row.when) }, { label: "Adapter", cell: (row) => row.adapter },
    { label: "Yours", num: true, cell: (row) => price(row.my_price_wei) }, { label: "Winner", num: true, cell: (row) => price(row.winner_price_wei) }, { label: "Why", cell: (row) => h("span", { title: row.reason }, row.reason.split(":")[0]) },
  ],
}));
