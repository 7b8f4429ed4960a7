// Review of a batch: its numbers, its rows one by one, and what the owner decides. Personal data comes masked from the node.
import { get, post, Refused } from "./api.js";
import { cliLine, quoted, says } from "./cli.js";
import { act } from "./dialog.js";
import { h, put } from "./dom.js";
import { count, id, NONE } from "./format.js";
import { drawNumbers, EVIDENCE, rowsOf } from "./gate.js";
import { openDialog } from "./modal.js";
import { button, chip, note, panel, turn } from "./parts.js";
import { table } from "./table.js";

export const ROWS_SHOWN = 10;
const STATES = { pending: ["waits", "accent"], approved: ["approved", "ok"], rejected: ["rejected", "warn"] };
const REASON_MAX = 400;
const shortDigest = (digest) => digest.slice(0, 10);

// drawReview({datanet, batches, found}, {ticked, pick, turnTo, mark, changed}): `found` is the batch that is shown, `ticked` its
// rows to leave out, by their numbers.
export function drawReview({ datanet, batches, found }, acts) {
  const line = cliLine(found ? `datanet show ${quoted(datanet)} ${shortDigest(found.digest)}` : `datanet show ${quoted(datanet)}`);
  return panel({ class: "fill" }, "Review", waitingText(batches),
    batches.length ? drawBatches(batches, found, acts) : h("p", { class: "dim" }, "No batch yet. What you contribute above waits here until you approve it."),
    found && drawBatch(found, acts, line), h("span", { class: "fill" }), line);
}

function waitingText(batches) {
  const waiting = batches.filter((each) => each.state === "pending").length, appeals = batches.reduce((all, each) => all + each.appeals_waiting, 0);
  return [waiting && `${waiting} ${waiting === 1 ? "batch waits" : "batches wait"}`, appeals && `${appeals} ${appeals === 1 ? "appeal waits" : "appeals wait"}`].filter(Boolean).join(", ") || "nothing waits";
}

const drawBatches = (batches, found, { pick }) => table({
  caption: "Batches", rows: [...batches].reverse(), key: (each) => each.digest, chosen: found?.digest, open: (each) => pick(each.digest),
  columns: [
    { label: "Batch", head: true, tight: true, cell: (each) => id(each.digest) }, { label: "Rows", num: true, cell: (each) => each.rows_kept < each.rows ? `${count(each.rows_kept)} of ${count(each.rows)}` : count(each.rows) },
    { label: "People", num: true, rank: 2, cell: (each) => count(each.contributors) }, { label: "Copies of others", num: true, rank: 2, cell: (each) => count(each.of_others) },
    { label: "Look at", rank: 2, cell: (each) => each.looks.join(", ") || NONE },
    { label: "State", keep: true, cell: (each) => [chip(...STATES[each.state]), each.appeals_waiting > 0 && [" ", chip(`${each.appeals_waiting} ${each.appeals_waiting === 1 ? "appeal" : "appeals"}`, "warn")]] },
  ],
});

function drawBatch(found, acts, line) {
  const { state, num_found: total, num_marked: numMarked, offset } = found, last = Math.min(total, offset + ROWS_SHOWN);
  const step = (label, to, isOff) => button(label, () => acts.turnTo(to), { kind: "small", changes: false, disabled: isOff });
  return h("div", { class: "above" }, h("h3", {}, `Batch ${shortDigest(found.digest)}: ${rowsOf(found.rows)} of ${count(found.contributors)} ${found.contributors === 1 ? "person" : "people"}`),
    found.rejected_because && note("warn", `Rejected: ${found.rejected_because}`),
    found.taken > 0 && note("warn", `${rowsOf(found.taken)} approved before ${found.taken === 1 ? "copies" : "copy"} this batch, which is proven to be older and is paid for ${found.taken === 1 ? "it" : "them"}.`, null, `datanet show ${quoted(found.datanet)} ${shortDigest(found.digest)}`),
    found.numbers.length > 0 && drawNumbers(found.numbers),
    drawDecision(found, acts, line),
    h("div", { class: "between above" }, h("h3", {}, total ? `Rows ${count(offset + 1)} to ${count(last)} of ${count(total)}` : "No such row"),
      numMarked > 0 && button(acts.isMarked ? "Show all rows" : `Only the ${count(numMarked)} with a copy, an appeal or a rejection`, acts.mark, { kind: "link", key: "marked", changes: false })),
    h("ol", { class: "reviewed", "aria-label": "Rows of the batch" }, found.shown.map((row) => drawRow(found, row, acts, line))),
    total > ROWS_SHOWN && h("div", { class: "buttons" }, step("Earlier rows", offset - ROWS_SHOWN, offset === 0), step("Later rows", offset + ROWS_SHOWN, last >= total)),
    state === "approved" && h("p", { class: "note12 above8" }, "Approved rows stay. Withdraw a row to take it out of later versions."));
}

function drawDecision(found, acts, line) {
  const { datanet, digest, state } = found, place = `${quoted(datanet)} ${shortDigest(digest)}`;
  if (state === "approved") return null;
  const go = says(button("", () => approveDialog(found, acts), { kind: "primary", key: "approve" }), line, () => approveWords(found, acts.ticked));
  const no = state === "pending" && says(button("Reject…", () => rejectDialog(found, acts), { kind: "danger", key: "reject" }), line, `datanet reject ${place} --because TEXT`);
  const again = says(button("Check again", () => acts.attempt(() => post(`/datanets/${encodeURIComponent(datanet)}/check`, { batch: digest })), { key: "check" }), line, `datanet check ${place}`);
  const name = () => { go.textContent = `Approve ${acts.ticked.size ? `${count(found.rows - acts.ticked.size)} of ${rowsOf(found.rows)}` : rowsOf(found.rows)}…`; turn(go, acts.ticked.size >= found.rows); };
  acts.ticked.changed = name;
  name();
  return h("div", { class: "buttons above" }, go, no, again, h("span", { class: "note12" }, "Tick the rows to leave out. Nobody can take back what is published."));
}

// ---- one row

function drawRow(found, row, acts, line) {
  const tick = h("input", { type: "checkbox", id: `leave-out-${row.row}`, checked: acts.ticked.has(row.row), dataset: { key: `tick ${row.row}` }, onchange: () => { acts.ticked[tick.checked ? "add" : "delete"](row.row); acts.ticked.changed?.(); } });
  const isOpen = found.state !== "approved";
  return h("li", {},
    h("div", { class: "between" }, h("span", { class: "check" }, isOpen && h("label", { class: "check" }, tick, "Leave out"), h("b", {}, `Row ${count(row.row)}`), h("span", { class: "note12" }, "by ", row.account === row.contributor ? id(row.account) : row.contributor, row.account ? "" : ", without an address")),
      h("span", { class: "buttons" }, row.is_signed && chip("signed", "ok"), row.is_withdrawn && chip("withdrawn", "warn"), row.rejected_because && chip("left out", "warn"), row.copy && chip("copy", "warn"), row.masked.length > 0 && chip("masked", "warn"))),
    h("pre", { class: "row-text", tabindex: "0", "aria-label": `Row ${row.row}`, dataset: { key: `text ${row.row}` } }, row.prompt, "\n", h("span", { class: "learned" }, row.completion)),
    row.masked.length > 0 && h("p", { class: "note12" }, `Masked here: ${row.masked.join(", ")}. The row itself still has it.`),
    row.rejected_because && h("p", { class: "note12" }, `Left out, because ${row.rejected_because}`),
    row.copy && h("p", { class: "note12" }, `Copies row ${count(row.copy.of_row)} of batch ${shortDigest(row.copy.of_batch)}, of ${row.copy.contributor}, ${row.copy.is_withdrawn ? "which was withdrawn, so later versions leave this one out" : "who is paid for it"}: “${row.copy.of_begins}” (${EVIDENCE[row.copy.evidence]})`),
    !isOpen && !row.is_withdrawn && !row.rejected_because && h("div", { class: "buttons above8" }, says(button("Withdraw…", () => withdrawDialog(found, row, acts), { kind: "small", key: `withdraw ${row.row}` }), line, withdrawWords(found, row))),
    drawAppeal(found, row, acts, line));
}

const withdrawWords = ({ datanet }, { digest }) => `datanet withdraw ${quoted(datanet)} ${shortDigest(digest)}`;

function withdrawDialog(found, row, acts) {
  act({
    title: `Withdraw row ${count(row.row)}`, sentence: "Later versions and trainings leave it out, for good. Adapters trained on it are flagged wherever they are offered.", verb: "datanet withdraw", args: { datanet: found.datanet, rows: [row.digest], contributor: null, file: null },
    words: withdrawWords(found, row), does: "Withdraw", next: "Publish a version without it, and train on that.", done: acts.changed, isOwn: true,
  });
}

const OUTCOMES = new Map([[null, "waits for your decision"], [true, "upheld: the row is its own"], [false, "denied: the row stays a copy"]]);

function drawAppeal(found, row, acts, line) {
  const { appeal, copy } = row, words = (flag) => `datanet appeal ${quoted(found.datanet)} ${shortDigest(found.digest)} ${row.row}${flag} --because TEXT`;
  const does = (label, flag, upheld) => says(button(`${label}…`, () => appealDialog(found, row, upheld, acts), { kind: "small", key: `${label} ${row.row}` }), line, words(flag));
  if (!appeal) return copy && h("div", { class: "buttons above8" }, does("Appeal", "", null));
  return h("div", { class: "above8" }, h("p", { class: "note12" }, `Appeal, because ${appeal.because}: ${OUTCOMES.get(appeal.upheld)}${appeal.reason ? `, because ${appeal.reason}` : ""}`),
    appeal.upheld === null && h("div", { class: "buttons above8" }, does("Uphold", " --uphold", true), does("Deny", " --deny", false)));
}

// ---- dialogs

function approveWords({ datanet, digest, without_account: nameless }, ticked, because = "TEXT", accounts = {}) {
  const rows = [...ticked].sort((a, b) => a - b).join(",");
  const flags = [rows && `--except ${rows} --because ${quoted(because || "TEXT")}`, ...nameless.filter((name) => accounts[name]).map((name) => `--account ${quoted(`${name}=${accounts[name]}`)}`)];
  return ["datanet approve", quoted(datanet), shortDigest(digest), ...flags].filter(Boolean).join(" ");
}

export function approveDialog(found, acts) {
  const { datanet, digest, rows, without_account: nameless } = found, { ticked } = acts, accounts = {};
  const num = rows - ticked.size;
  const fields = nameless.map((name, n) => {
    const field = h("input", { id: `account-${n}`, autocomplete: "off", spellcheck: "false", placeholder: "0x…", oninput: () => { accounts[name] = field.value.trim(); asked.line.change(words()); } });
    return h("div", { class: "field" }, h("label", { for: field.id }, `Address that pays ${name}`), field);
  });
  const words = () => approveWords(found, ticked, asked.reason(), accounts);
  const asked = ask({
    title: `Approve ${num < rows ? `${count(num)} of ${rowsOf(rows)}` : rowsOf(rows)}`, about: `They follow what was approved before, and the next version of ${datanet} contains them.`,
    more: [nameless.length > 0 && h("p", {}, "These people have no address. Without one, their earnings go to the treasury."), fields],
    label: ticked.size > 0 && `Why ${ticked.size === 1 ? "one row is" : `${count(ticked.size)} rows are`} left out`, does: "Approve", words,
    send: (because) => post(`/datanets/${encodeURIComponent(datanet)}/approve`, { batch: digest, leave_out: [...ticked], because, accounts: Object.fromEntries(Object.entries(accounts).filter(([, each]) => each)) }).then(() => ticked.clear()), acts,
  });
}

export function rejectDialog({ datanet, digest, rows }, acts) {
  ask({
    title: `Reject ${rowsOf(rows)}`, about: "The batch stays here with your reason, and you can still approve it.", label: "Why it is rejected", does: "Reject", kind: "danger",
    words: (because) => `datanet reject ${quoted(datanet)} ${shortDigest(digest)} --because ${quoted(because || "TEXT")}`, send: (because) => post(`/datanets/${encodeURIComponent(datanet)}/reject`, { batch: digest, because }).then(() => acts.ticked.clear()), acts,
  });
}

function appealDialog({ datanet, digest }, { row }, upheld, acts) {
  const [title, about, does, flag] = upheld === null ? [`Appeal for row ${row}`, "Says that the row is no copy. You then decide as the owner. The reasons are published with the version, so write nothing private.", "File the appeal", ""]
    : upheld ? [`Uphold the appeal for row ${row}`, "The row becomes its own from the next version with new rows. A decision is final.", "Uphold", " --uphold"] : [`Deny the appeal for row ${row}`, "The row stays a copy, and the earlier contributor is paid. A decision is final.", "Deny", " --deny"];
  ask({
    title, about, does, label: "Reason", words: (because) => `datanet appeal ${quoted(datanet)} ${shortDigest(digest)} ${row}${flag} --because ${quoted(because || "TEXT")}`,
    send: (because) => post(`/datanets/${encodeURIComponent(datanet)}/appeal`, { batch: digest, row, because, upheld }), acts,
  });
}

// A question before a change: its reason where `label` asks for one. A refusal stays in the dialog; that of a locked wallet
// asks for its password.
export function ask({ title, about, more, label, does, kind = "primary", words, send, acts }) {
  const why = h("div", { role: "alert" }), field = label ? h("textarea", { id: "reason", rows: 3, maxlength: String(REASON_MAX), oninput: () => change() }) : null;
  const reason = () => field?.value.trim() ?? "", line = cliLine("datanet"), secret = h("input", { type: "password", id: "ask-password", autocomplete: "off" }), locked = h("div", {});
  const cancel = button("Cancel", () => dialog.close(), { changes: false }), go = button(does, carryOut, { kind });
  const dialog = openDialog(title, h("p", {}, about), more, field && h("div", { class: "field" }, h("label", { for: "reason" }, label), field), locked, why, line, h("div", { class: "buttons" }, cancel, go));
  const change = () => { line.change(words(reason())); turn(go, Boolean(field) && !reason()); };
  const asked = { line, reason };
  queueMicrotask(change);
  (field ?? cancel).focus();
  return asked;

  async function carryOut() {
    turn(go, true);
    put(why);
    try {
      await send(reason(), secret.value || null);
      dialog.close();
      await acts.changed();
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
      put(why, note("bad", failure instanceof Refused ? failure.message : "The node does not answer."));
      if (/locked|password/i.test(failure.message)) put(locked, h("div", { class: "field" }, h("label", { for: secret.id }, "Password of the wallet; forgotten afterwards"), secret));
      turn(go, false);
    }
  }
}

export const lookAtBatch = (datanet, digest, { offset, isMarked }) => get(`/datanets/${encodeURIComponent(datanet)}/batches/${digest}?offset=${offset}&limit=${ROWS_SHOWN}&marked=${isMarked}`);
