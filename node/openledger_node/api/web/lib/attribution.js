// Who taught an answer: share bar and table at the left, rows at the right; one choice lights spans, table and rows.
import { money } from "./api.js";
import { cliLine, says } from "./cli.js";
import { coded, h, put } from "./dom.js";
import { amount, count, id, NONE, open as openAmount, percent, short } from "./format.js";
import { marked, pressed } from "./marked.js";
import { openDialog } from "./modal.js";
import { button, facts, note, panel, person } from "./parts.js";
import { table } from "./table.js";
import { saveAnswer } from "./save.js";
import { ranked, share } from "./taught.js";

const HOVER_MS = 100, TELLING_PPM = 5000, GROUPS = [["people", "People"], ["rows", "Rows"], ["datanets", "Datanets"]];
const SIGNS = { true: ["✓", "ok"], false: ["✕", "bad"], null: ["–", "dim"] };
const CHECKS = {
  digest: "Fields hash to the receipt", signature: "Signed by the node", countersignature: "Signed by the payer", registry: "Adapter’s entry on the chain fits the receipt", shares: "Shares are those signed",
  text: "Text opens its commitments", attribution: "Shares recomputed to the same integers", signals: "A replay with base and adapter gives these signals", claim: "Root on the chain", payouts: "Payout list on the chain",
};

// attributionPanel(answerPlace): `show(receipt, part)` draws it for one part of the answer; `move(step)`, `number(n)` and
// `letGo()` are for keys.
export function attributionPanel(answerPlace) {
  const place = h("div", {}), held = { receipt: null, part: 0, group: "people", chosen: null, span: null, datanet: null, isAll: false };
  let timer = null;

  const numberOf = (account) => held.receipt.teaching.people.find((each) => each.account === account);
  const isOther = (account) => !(numberOf(account)?.number);
  const isOf = (account, key) => key === "others" ? isOther(account) : account === key;
  const marks = () => [...answerPlace.querySelectorAll(`.mark[data-part="${held.part}"]`)], buttons = () => marks().filter((each) => each.role === "button");

  function light(key) {
    answerPlace.classList.toggle("choosing", key !== null);
    for (const each of marks()) each.classList.toggle("lit", key !== null && isOf(each.dataset.account, key));
  }

  function hover(key) {
    clearTimeout(timer);
    timer = setTimeout(() => light(key ?? held.chosen), HOVER_MS);
  }

  function choose(key, span = null) {
    clearTimeout(timer);
    const isSame = held.chosen === key && held.span === span;
    Object.assign(held, isSame ? { chosen: null, span: null } : { chosen: key, span });
    if (key && held.group === "datanets") held.group = "people";
    draw();
    if (held.span !== null) place.querySelector(`[data-row="${held.receipt.teaching.spans[span].row}"]`)?.scrollIntoView({ block: "nearest" });
  }

  function draw() {
    light(held.chosen);
    for (const each of buttons()) each.setAttribute("aria-pressed", String(held.chosen !== null && (held.span === null ? isOf(each.dataset.account, held.chosen) : Number(each.dataset.span) === held.span)));
    put(place, drawPanel(held, { choose, hover, group: (name) => { held.group = name; draw(); }, datanet: (name) => { held.datanet = name; draw(); }, showAll: () => { held.isAll = true; draw(); }, flash }));
  }

  function flash(row, words) {
    const found = buttons().filter((each) => held.receipt.teaching.spans[Number(each.dataset.span)]?.row === row);
    const same = found.find((each) => words.includes(each.firstChild.textContent) || each.firstChild.textContent.includes(words)) ?? found[0];
    if (!same) return;
    choose(same.dataset.account, Number(same.dataset.span));
    same.focus();
  }

  return {
    place,
    show(receipt, part) {
      if (part !== held.part) Object.assign(held, { part, chosen: null, span: null });
      held.receipt = receipt;
      draw();
    },
    isOf: (part) => held.receipt !== null && held.part === part,
    press: (n) => choose(held.receipt.teaching.spans[n].account, n),
    hover: (n, isOver) => hover(isOver ? held.receipt.teaching.spans[n].account : null),
    move(step) {
      const all = buttons(), at = all.indexOf(document.activeElement);
      all[at < 0 ? (step > 0 ? 0 : all.length - 1) : (at + step + all.length) % all.length]?.focus();
    },
    number(n) { const found = held.receipt?.teaching.people.find((each) => each.number === n); if (found) choose(found.account); },
    letGo() { if (held.receipt && held.chosen !== null) choose(held.chosen, held.span); },
  };
}

// ---- the panel

function drawPanel(held, act) {
  const { receipt, group } = held, teaching = receipt.teaching;
  const matched = teaching.tokens ? `${percent(teaching.tokens_matched, teaching.tokens)} of its tokens match rows word for word · ` : "";
  const segments = h("div", { class: "segments", role: "group", "aria-label": "Group by" }, GROUPS.map(([name, label]) =>
    h("button", { type: "button", "aria-pressed": String(group === name), dataset: { key: `group ${name}` }, onclick: () => act.group(name) }, label)));
  const head = h("header", {}, h("h2", {}, "Who taught this answer"), h("span", { class: "aside" }, h("span", { class: "note12", role: "status" }, `${matched}${teaching.algorithm}: ${teaching.says}`), teaching.people.length > 0 && segments));
  return panel({ "aria-label": "Who taught this answer", class: "taught" }, null, null, head, nobody(teaching) ?? h("div", { class: "halves" }, left(held, act), right(held, act)), foot(receipt));
}

// What is said in place of a table: a base answer, or one that no row speaks for.
function nobody(teaching) {
  if (!teaching.people.length) return note("", "A base answer pays no Datanet: no adapter, and so nobody’s data, had a part in it.");
  if (teaching.people.every((each) => each.pays === "treasury")) {
    return note("warn",
      `No row speaks for this answer: no evidence. The Datanet part, ${openAmount(teaching.part_wei)} OPEN, goes to the Datanet’s treasury, never to everybody alike.`);
  }
  return null;
}

function left(held, act) {
  const { teaching } = held.receipt, lines = ranked(teaching.people);
  const bar = h("div", { class: "shares", "aria-hidden": "true" }, lines.filter((each) => each.ppm > 0).map((each) =>
    h("span", { class: `person ${held.chosen !== null && held.chosen !== each.key ? "faint" : ""}`, dataset: { person: each.number }, vars: { "--part": each.ppm }, title: each.label, onclick: () => act.choose(each.key), onpointerenter: () => act.hover(each.key), onpointerleave: () => act.hover(null) }, each.ppm >= 1e5 ? share(each.ppm) : "")));
  return h("div", {}, bar, held.group === "people" ? peopleTable(held, lines, act) : held.group === "rows" ? rowTable(teaching, held, act) : datanetTable(teaching, held, act),
    h("p", { class: "note12 above8" }, "Shares say whose rows the words point to. Matches and sums are proven; scores can be run again by anybody. Text without a mark comes from the base or has no evidence. Amounts are this receipt’s; the chain pays each claim’s sum",
      teaching.dust_wei === "0" ? "." : `; ${teaching.dust_wei} wei of rounding go to the treasury.`));
}

function peopleTable(held, lines, act) {
  const { teaching } = held.receipt;
  const made = table({
    caption: "Contributors by share", rows: lines, key: (each) => each.key, open: (each) => act.choose(each.key), chosen: held.chosen ?? undefined,
    columns: [
      { label: "Contributor", head: true, cell: (each) => [person(each.number, each.treasury ? "–" : each.number || "…"), h("span", { title: each.title }, each.label)] },
      { label: "Rows", num: true, cell: (each) => each.treasury ? NONE : count(each.rows) }, { label: "Share, ppm", num: true, cell: (each) => count(each.ppm) }, { label: "Earns, OPEN", num: true, cell: (each) => amount(each.wei) },
    ],
    sum: [`Datanet part, ${percent(teaching.part_ppm, 1e6)} of the price`, teaching.tokens === null ? NONE : count(teaching.people.reduce((n, each) => n + each.rows, 0)), count(teaching.people.reduce((n, each) => n + each.ppm, 0)), amount(teaching.part_wei)],
  });
  made.querySelectorAll("tbody tr[tabindex]").forEach((row, n) => {
    row.addEventListener("pointerenter", () => act.hover(lines[n].key));
    row.addEventListener("pointerleave", () => act.hover(null));
  });
  return made;
}

const rowTable = (teaching, held, act) => table({
  caption: "Rows by share", rows: teaching.rows, key: (row) => row.row, open: (row) => act.choose(row.account),
  columns: [
    { label: "Row", head: true, cell: (row) => [person(row.number), id(row.row)] }, { label: "Tokens", num: true, cell: (row) => count(row.tokens_matched) }, { label: "Share, ppm", num: true, cell: (row) => count(row.ppm) },
  ],
  sum: ["Rows that are paid for", count(teaching.rows.reduce((n, row) => n + row.tokens_matched, 0)), count(teaching.rows.reduce((n, row) => n + row.ppm, 0))],
});

const datanetTable = (teaching, held, act) => table({
  caption: "Datanets by weight", rows: teaching.datanets, key: (each) => each.datanet_id, open: (each) => act.datanet(each.datanet_id), chosen: held.datanet ?? undefined,
  columns: [
    { label: "Datanet", head: true, cell: (each) => [each.name ?? id(each.datanet_id), h("small", {}, each.version ? `version ${each.version}` : "no index here")] },
    { label: "Rows", num: true, cell: (each) => count(each.rows) }, { label: "Weight, ppm", num: true, cell: (each) => count(each.weight_ppm) }, { label: "Earns, OPEN", num: true, cell: (each) => amount(each.part_wei) },
  ],
});

// ---- rows

function right(held, act) {
  const { teaching } = held.receipt, key = held.chosen ?? teaching.people[0]?.account, first = ranked(teaching.people).find((each) => each.key === key) ?? ranked(teaching.people).find((each) => each.key === "others");
  const isIn = { people: (row) => key === "others" ? !row.number : row.account === key, rows: () => true, datanets: (row) => row.datanet_id === (held.datanet ?? teaching.datanets[0]?.datanet_id) }[held.group];
  const rows = teaching.rows.filter(isIn), telling = rows.filter((row) => row.tokens_matched > 0 || row.ppm >= TELLING_PPM), shown = held.isAll ? rows : telling.length ? telling : rows.slice(0, 3);
  const head = held.group !== "people" ? h("h3", {}, held.group === "rows" ? "All rows, best first" : "Rows of the Datanet")
    : h("div", { class: "between" }, h("h3", {}, person(first.number, first.number || "…"), `Rows by ${first.label}`), h("span", { class: "note12" }, `${share(first.ppm)} · ${openAmount(first.wei)} OPEN`));
  if (!rows.length) return h("div", {}, head, h("p", { class: "dim" }, coded(whyNoRows(held.receipt))));
  return h("div", { class: "rows", tabindex: "0", role: "region", "aria-label": "Rows" }, head, shown.map((row) => drawRow(row, teaching, act)), shown.length < rows.length && button(`Show ${rows.length - shown.length} more, each under 0.5 %`, act.showAll, { kind: "link", key: "all rows", changes: false }));
}

const whyNoRows = ({ teaching }) => teaching.why_no_rows ? `No rows to show: ${teaching.why_no_rows}. Shares and amounts stay.` : "No text of these rows is here: their Datanet is private.";

function drawRow(row, teaching, act) {
  const also = teaching.spans.filter((span) => span.also_in.includes(row.row)).length;
  const about = [`r-${row.row.slice(2, 8)}`, row.published && `published ${row.published.slice(0, 10)}`, row.tokens_matched ? `${count(row.tokens_matched)} tokens` : "no match", row.gradient !== null && `gradient ${row.gradient}`, `${count(row.ppm)} ppm`, also > 0 && `also holds ${also} marked ${also === 1 ? "span" : "spans"}`];
  return h("div", { class: "person row", dataset: { person: row.number, row: row.row } }, h("div", { class: "note12", title: row.row }, about.filter(Boolean).join(" · ")),
    h("p", {}, marked(row.text, row.marks, (words) => h("mark", { class: "mark", role: "button", tabindex: "0", dataset: { person: row.number }, ...pressed(() => act.flash(row.row, words)) }, document.createTextNode(words)))));
}

// ---- the receipt

function foot(receipt) {
  const line = cliLine(`attribution verify ${receipt.digest.slice(0, 14)}`);
  const follow = h("a", { class: "button", href: `#/money?receipt=${receipt.digest}` }, "Follow the money"), words = `attribution show ${receipt.digest.slice(0, 14)}`, place = h("div", {});
  const save = receipt.text.state === "kept" && says(button("Save as a file", () => saveAnswer(receipt.digest, place), { key: "save answer", changes: false }), line, `${words} --html answer.html`);
  const sold = receipt.teaching.datanets.map((each) => `${each.name ?? short(each.datanet_id)}${each.version ? ` v${each.version}` : ""}${each.rows ? `, ${count(each.rows)} ${each.rows === 1 ? "row" : "rows"}` : ""}`).join("; ");
  return h("div", { class: "halves receipt" }, facts([
    ["Receipt", [id(receipt.digest), receipt.is_countersigned ? " signed by node and payer" : " signed by the node"]],
    ["Price", [amount(receipt.amount_wei), " OPEN, channel ", id(receipt.receipt.channel_id)]], ["Datanet", sold || null],
    ["Text", coded(receipt.text.says.replace(/^its text (is|was) /, ""))],
  ]), h("div", {}, h("div", { class: "buttons" }, says(button("Verify again", () => verify(receipt), { changes: false }), line, line.own), says(follow, line, `${words} --follow`), save, h("span", { class: "note12" }, "Verifying opens this text to the verifier: here, this node.")), place, line));
}

function verify(receipt) {
  const body = h("div", {}), words = `attribution verify ${receipt.digest.slice(0, 14)}`;
  const dialog = openDialog("Verify again", h("p", {}, "All that the receipt says is computed again by this node. Whoever verifies reads the text; here, this node alone does."), body);
  const close = button("Close", () => dialog.close(), { changes: false });
  const run = async () => {
    put(body, h("p", {}, "Computing…"), cliLine(words), h("div", { class: "buttons" }, close));
    try {
      const found = await money("verify", { receipt: receipt.digest });
      put(body, table({
        caption: "What was computed again", rows: found.checks, key: (check) => check.what,
        columns: [{ label: "", about: "Holds", tight: true, cell: (check) => h("span", { class: SIGNS[check.holds][1] }, SIGNS[check.holds][0], h("span", { class: "unseen" }, { true: " holds", false: " is false", null: " is not known" }[check.holds])) }, { label: "Step", head: true, cell: (check) => [CHECKS[check.what] ?? check.what, h("small", {}, check.detail)] }],
      }), cliLine(words), h("div", { class: "buttons" }, close));
    } catch (error) {
      put(body, note("bad", error.message), h("div", { class: "buttons" }, close));
    }
  };
  run();
  close.focus();
}
