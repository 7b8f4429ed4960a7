// The gate of a batch: its numbers with their limits, and the rows that copy those of others.
import { coded, h } from "./dom.js";
import { count, NONE } from "./format.js";
import { chip } from "./parts.js";
import { table } from "./table.js";

export const rowsOf = (n) => `${count(n)} ${n === 1 ? "row" : "rows"}`;
export const EVIDENCE = { equal: "the same text", shingles: "three-word runs", words: "word fingerprint" };
const COPIES_SHOWN = 20;
const limitOf = ({ low, high }) => high === null ? NONE : low === null ? `at most ${high}` : `${low} to ${high}`;
const VERDICTS = { ok: ["ok", "ok"], look: ["look", "warn"], unmeasured: ["not measured", ""] };

export function drawNumbers(numbers) {
  return table({
    caption: "The numbers of the batch", rows: numbers, key: ({ name }) => name,
    columns: [
      { label: "Number", head: true, cell: ({ name }) => name[0].toUpperCase() + name.slice(1) },
      { label: "Found", cell: ({ value, unit }) => value === null ? NONE : `${value} ${unit}` },
      { label: "Limit", rank: 2, keep: true, cell: limitOf },
      { label: "Verdict", keep: true, cell: ({ verdict }) => chip(...VERDICTS[verdict]) },
      { label: "About it", rank: 2, cell: ({ note: about }) => coded(about) },
    ],
  });
}

export function drawCopies({ of_others: total, gate }) {
  if (!total) return null;
  const shown = gate.copies.slice(0, COPIES_SHOWN);
  return h("div", { class: "above" }, h("h3", {}, `${rowsOf(total)} ${total === 1 ? "copies a row" : "copy rows"} of other contributors${shown.some((each) => each.is_withdrawn) ? "" : `, who are paid for ${total === 1 ? "it" : "them"}`}`),
    table({
      caption: "Rows that copy others", rows: shown, key: ({ row }) => String(row),
      columns: [
        { label: "Row", head: true, tight: true, cell: ({ row }) => count(row) },
        { label: "It begins", cell: ({ begins }) => begins },
        { label: "Copies", cell: (each) => `row ${each.of_row} of batch ${each.of_batch.slice(0, 10)}, of ${each.contributor}${each.is_withdrawn ? ", withdrawn, so later versions leave this one out" : ""}: ${each.of_begins}` },
        { label: "Recognised by", rank: 2, cell: ({ evidence }) => EVIDENCE[evidence] },
      ],
    }),
    total > shown.length && h("p", { class: "note12" }, `and ${count(total - shown.length)} more`),
    h("p", { class: "note12" }, "If one of them is no copy, contribute it all the same, and appeal for it in the review."));
}
