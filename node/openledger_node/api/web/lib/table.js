// Tables: real ones, with a caption and scopes. Columns of second rank leave narrow screens, and a row opens to show them.
import { h } from "./dom.js";

// table({caption, columns: [{label, num, rank, keep, tight, head, cell(row)}], rows, key(row), open(row), chosen, sum, limit})
//   num: a number, at the right · rank 2: leaves when narrow · keep: on one line · tight: no wider than it must be · head: names the row
//   cell(row) makes new elements each time: a narrow page shows them twice
//   open(row): what Enter or a click on a row does; without it, a row opens its second-rank columns, and stays open when it is drawn anew
//   sum: cells of a last row, one a column
const opened = new Set(); // rows that show more, by their table's caption and their key

export function table({ caption, columns, rows, key, open, chosen, sum, showCaption = false }) {
  const hasMore = !open && columns.some((column) => column.rank === 2);
  const body = rows.flatMap((row, n) => {
    const name = key ? key(row) : String(n);
    const mark = `${caption} ${name}`, isOpen = opened.has(mark), more = hasMore && moreRow(columns, row, isOpen);
    const act = open ? () => open(row) : hasMore ? () => toggle(line, more, mark) : null;
    const line = h("tr", {
      tabindex: act ? "0" : null, class: chosen !== undefined && chosen === name ? "chosen" : null, dataset: { key: `row ${name}` },
      onclick: act && ((event) => { if (!event.target.closest("button, a, input, select") && !String(getSelection())) act(); }),
      onkeydown: act && ((event) => { if (event.key === "Enter" && event.target === line) act(); }),
    }, columns.map((column) => cell(column, column.cell(row), hasMore && column.head ? String(isOpen) : null)));
    return more ? [line, more] : [line];
  });
  return h("div", { class: "scroll" },
    h("table", {},
      h("caption", { class: showCaption ? null : "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: classes(column) }, column.label || h("span", { class: "unseen" }, column.about ?? "Actions"))))),
      h("tbody", {}, body, sum && h("tr", { class: "sum" }, columns.map((column, n) => cell(column, sum[n] ?? ""))))));
}

const classes = (column) => [column.num && "num", column.rank === 2 && "rank2", column.keep && "keep", column.tight && "tight"].filter(Boolean).join(" ") || null;
// The head of a row says whether the row is open, since a plain row may not.
const cell = (column, content, isOpen = null) => h(column.head ? "th" : "td", { class: classes(column), scope: column.head ? "row" : null, "aria-expanded": isOpen }, content);

function moreRow(columns, row, isOpen) {
  const second = columns.filter((column) => column.rank === 2 && column.label);
  return h("tr", { class: isOpen ? "more open" : "more" }, h("td", { colspan: String(columns.length) },
    h("dl", { class: "facts" }, second.map((column) => [h("dt", {}, column.label), h("dd", {}, column.cell(row))]))));
}

function toggle(line, more, mark) {
  const isOpen = more.classList.toggle("open");
  opened[isOpen ? "add" : "delete"](mark);
  line.querySelector("th")?.setAttribute("aria-expanded", String(isOpen));
}

// j and k: the next or the last row, in the table that has the focus or in the first one.
export function moveRow(step) {
  const rows = [...document.querySelectorAll("main tbody tr[tabindex]")].filter((row) => row.offsetParent !== null);
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement.closest?.("tr"));
  rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))].focus();
}
