// Rows that are dropped or pasted here: the node reads and checks them, the page shows what it found, and nothing is taken
// before a button says so.
import { get, post, Refused, upload } from "./api.js";
import { cliLine, quoted, says } from "./cli.js";
import { act } from "./dialog.js";
import { h, put } from "./dom.js";
import { count, id } from "./format.js";
import { drawCopies, drawNumbers, rowsOf } from "./gate.js";
import { button, facts, note, panel, turn } from "./parts.js";
import { ask } from "./review.js";
import { table } from "./table.js";

const FORMATS = ".jsonl,.ndjson,.json,.csv,.tsv,.md,.markdown,.txt,.text";
const PASTED = [["txt", "Plain text"], ["jsonl", "JSONL"], ["csv", "CSV"], ["md", "Markdown"]];
const ENCODINGS = ["", "utf-8", "utf-16-le", "utf-16-be", "windows-1252", "iso-8859-1", "iso-8859-15"];
const FLAWS_SHOWN = 10, BYTES_MAX = 64 * 2 ** 20;

const curators = () => import("./curators.js"); // only who meets one of their files loads it
let lib;

// filesPanel(taken): `taken(batch)` is told what waits now; the panel's choose(datanet) says where rows go: {name, licence, id, isOwn},
// or null where there is no Datanet.
export function filesPanel(tell) {
  const place = h("div", {});
  const held = { file: null, waiting: [], columns: "", encoding: "", keep: false, report: null, why: null, isBusy: false, measured: null, isDeclared: false, taken: null, proposal: null, told: null, datanet: null, contributor: "", pasted: "", kind: "txt" };
  const draw = () => put(place, () => drawFiles(held, { read, measure, take, forget: skip, bring, paste, next, draw, unmeasure, turnTo, collect, decided, sign }));

  async function attempt(work) {
    Object.assign(held, { isBusy: true, why: null });
    draw();
    try {
      await work();
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
      held.why = failure instanceof Refused ? failure.message : "The node does not answer.";
    } finally {
      held.isBusy = false;
      draw();
    }
  }

  // Reading again with other choices makes another draft, so the former one is deleted.
  const read = (file) => attempt(async () => {
    const before = held.report?.draft;
    if (file !== held.file) Object.assign(held, { file, columns: "", encoding: "", keep: false, contributor: "" });
    Object.assign(held, { report: null, taken: null, measured: null, isDeclared: false, proposal: null, told: null });
    if (file.size > BYTES_MAX) throw new Refused(`${file.name} has more than 64 MiB: use openledger-node datanet contribute`, 413);
    if (before) await post(`/files/${before}/discard`);
    const query = new URLSearchParams({ name: file.name, columns: held.columns, encoding: held.encoding, keep: held.keep });
    held.report = await upload(`/files?${query}`, file);
    if (["proposal", "decision"].includes(held.report.kind)) lib = await curators();
    if (held.report.kind === "proposal") await look(0);
  });

  // Several files are shown one after the other, since each has columns and contributors of its own.
  const bring = (files) => { held.waiting = [...files].slice(1); return read(files[0]); };
  const next = () => { const [file, ...waiting] = held.waiting; held.waiting = waiting; return read(file); };

  const paste = () => bring([new File([held.pasted], `pasted.${held.kind}`, { type: "text/plain" })]);

  const look = async (offset) => { held.proposal = await get(`/files/${held.report.draft}/proposal?offset=${offset}`); };
  const turnTo = (offset) => attempt(() => look(offset));
  const told = (text) => { Object.assign(held, { file: null, report: null, proposal: null, measured: null, told: text }); draw(); };
  const decided = (approves) => told(`You ${approves ? "approve" : "reject"} it. Send the saved file to the owner.`);
  const collect = () => attempt(async () => {
    const { version, approvals } = await lib.collect(held.datanet.name, held.report.draft);
    told(`The decision is taken: ${approvals} for version ${version}.`);
    tell(null);
  });

  const sign = () => ask({
    title: `Sign ${rowsOf(held.report.rows)}`, about: `You say that you wrote them or may give them away, and offer them to ${held.datanet.name} under ${held.datanet.licence}. You are paid for them.`, does: "Sign", words: () => wordsOf(held),
    send: async (_, password) => (await curators()).fetchFile(`/files/${held.report.draft}/sign`, { datanet: held.datanet.id, password }, `${held.file.name}.signed.json`), acts: { changed: () => told("Send the saved file to the owner, and keep a copy: drop it here to withdraw your rows.") },
  });

  const order = () => ({ datanet: held.datanet.name, contributor: held.contributor || null });
  const measure = () => attempt(async () => { held.measured = await post(`/files/${held.report.draft}/measure`, order()); });
  const unmeasure = () => { if (held.measured) { Object.assign(held, { measured: null, isDeclared: false }); draw(); } };

  const take = () => attempt(async () => {
    held.taken = await post(`/files/${held.report.draft}/take`, order());
    Object.assign(held, { report: null, measured: null, pasted: "" });
    tell(held.taken);
  });

  const forget = () => attempt(async () => {
    const { draft } = held.report;
    Object.assign(held, { report: null, file: null, measured: null });
    await post(`/files/${draft}/discard`);
  });
  const skip = async () => { await forget(); if (held.waiting.length && !held.why) await next(); };

  // A file that misses the zone must not take the page's place.
  const over = (event) => { event.preventDefault(); place.classList.toggle("over", event.type === "dragover"); };
  const drop = (event) => { over(event); if (event.dataTransfer?.files.length && !held.isBusy) bring(event.dataTransfer.files); };
  for (const name of ["dragover", "dragleave"]) addEventListener(name, over);
  addEventListener("drop", drop);
  place.stop = () => { for (const name of ["dragover", "dragleave"]) removeEventListener(name, over); removeEventListener("drop", drop); };
  place.choose = (datanet) => { if (JSON.stringify(datanet) !== JSON.stringify(held.datanet)) { Object.assign(held, { datanet, measured: null, isDeclared: false, taken: null }); draw(); } };
  draw();
  return place;
}

function drawFiles(held, acts) {
  const { file, report, why, isBusy, taken, datanet } = held;
  const field = h("input", { type: "file", id: "files-file", accept: FORMATS, class: "unseen", dataset: { key: "file" }, multiple: true, disabled: isBusy, onchange: () => field.files.length && acts.bring(field.files) });
  const line = cliLine(wordsOf(held));
  return panel({ class: "files" }, datanet ? `Contribute to ${datanet.name}` : "Look at your files", "JSONL, CSV, Markdown or text",
    h("div", { class: "drop" }, field, h("label", { for: "files-file" }, isBusy ? `Reading ${file?.name ?? ""}…` : "Drop files here, or choose them"), h("p", { class: "note12" }, "Nothing is taken before you say so."),
      held.waiting.length > 0 && h("p", { class: "note12" }, `Then: ${held.waiting.map(({ name }) => name).join(", ")}`)),
    drawPaste(held, acts),
    why && h("div", { role: "alert" }, note("bad", why, nextButton(held, acts))),
    (report?.kind === "rows" || (why && file)) && drawChoices(held, acts),
    held.told && h("div", { class: "above", role: "status" }, note("ok", held.told, nextButton(held, acts))),
    report?.kind === "proposal" && held.proposal ? lib.drawProposal(held.proposal, file.name, acts) : report?.kind === "decision" ? lib.drawDecision(report, datanet, acts) : report && report.kind !== "proposal" && [drawReport(report), drawTake(held, acts, line)],
    taken && drawTaken(held, acts), line);
}

function drawPaste(held, { paste }) {
  const text = h("textarea", { id: "files-pasted", rows: 4, spellcheck: "false", dataset: { key: "pasted" }, oninput: () => { held.pasted = text.value; turn(go, !held.pasted.trim()); } });
  text.value = held.pasted;
  const kind = h("select", { id: "files-kind", dataset: { key: "kind" }, onchange: () => { held.kind = kind.value; } }, PASTED.map(([value, label]) => h("option", { value, selected: value === held.kind }, label)));
  const go = button("Read it", paste, { key: "read pasted", disabled: held.isBusy || !held.pasted.trim() });
  return h("details", { class: "advanced", open: Boolean(held.pasted) }, h("summary", { dataset: { key: "paste" } }, "Paste rows or text instead"),
    h("div", { class: "field above" }, h("label", { for: text.id }, "Rows or text"), text), h("div", { class: "field" }, h("label", { for: kind.id }, "Read as"), kind), h("div", { class: "buttons" }, go));
}

function wordsOf({ file, report, taken, datanet, contributor, columns, encoding, keep }) {
  if (report?.kind === "proposal") return `datanet review ${quoted(file.name)}`;
  if (taken) return `datanet approve ${quoted(taken.datanet)} ${taken.digest.slice(0, 10)}`;
  if (datanet && !datanet.isOwn) return ["datanet sign", file ? quoted(file.name) : "FILE", `--datanet ${datanet.id} --licence ${quoted(datanet.licence)}`].join(" ");
  const flags = [columns && `--columns ${quoted(columns)}`, encoding && `--encoding ${encoding}`, keep && "--keep", contributor && `--contributor ${quoted(contributor)}`].filter(Boolean);
  return [datanet && (report || !file) ? `datanet contribute ${quoted(datanet.name)}` : "datanet convert", file ? quoted(file.name) : "FILE", ...flags].join(" ");
}

// What to read differently: asked once the file was looked at.
function drawChoices(held, { read }) {
  const columns = h("input", { id: "files-columns", value: held.columns, autocomplete: "off", spellcheck: "false", placeholder: "prompt=question,completion=answer", dataset: { key: "columns" }, oninput: () => { held.columns = columns.value.trim(); } });
  const encoding = h("select", { id: "files-encoding", dataset: { key: "encoding" }, onchange: () => { held.encoding = encoding.value; } }, ENCODINGS.map((each) => h("option", { value: each, selected: each === held.encoding }, each || "as its first bytes say")));
  const keep = h("input", { type: "checkbox", id: "files-keep", checked: held.keep, dataset: { key: "keep" }, onchange: () => { held.keep = keep.checked; } });
  return h("details", { class: "advanced", open: Boolean(held.why || !held.report?.rows || held.report.flagged) }, h("summary", { dataset: { key: "read differently" } }, "Read it differently"),
    h("div", { class: "pairs above" }, h("div", { class: "field" }, h("label", { for: columns.id }, "Columns by name"), columns), h("div", { class: "field" }, h("label", { for: encoding.id }, "Encoding"), encoding)),
    h("label", { class: "check" }, keep, "Take rows with personal data or secrets, too"),
    h("div", { class: "buttons above" }, button("Read again", () => read(held.file), { disabled: held.isBusy })));
}

function drawReport(report) {
  const forms = Object.entries(report.forms).map(([form, rows]) => `${rowsOf(rows)} of ${form}`);
  return h("div", { class: "above" }, h("h3", {}, report.rows ? `${rowsOf(report.rows)} can be taken` : "No row can be taken"),
    facts([["Form", forms.join(", ") || null], ["Columns left out", report.unused_columns.join(", ") || null], ["Left out", report.notes.join("; ") || null]]),
    report.rows > 0 && h("h3", { class: "above" }, report.sample.length < report.rows ? "The first three" : "As the node would take them"),
    report.sample.map((row, n) => h("pre", { class: "row-text", tabindex: "0", dataset: { key: `row ${n}` }, "aria-label": `Row ${n + 1}` }, row.prompt, "\n", h("span", { class: "learned" }, row.completion), row.contributor && `\n– ${row.contributor}`)),
    report.num_flaws > 0 && table({
      caption: `${count(report.num_flaws)} can't be taken`, rows: report.flaws.slice(0, FLAWS_SHOWN), key: (flaw) => `${flaw.place} ${flaw.reason}`,
      columns: [{ label: report.unit[0].toUpperCase() + report.unit.slice(1), head: true, tight: true, cell: (flaw) => count(flaw.place) }, { label: "Can't be taken, because", cell: (flaw) => flaw.reason }],
    }),
    report.num_flaws > FLAWS_SHOWN && h("p", { class: "note12" }, `and ${count(report.num_flaws - FLAWS_SHOWN)} more`));
}

// A contributor given here counts for all rows, so the label says when that would replace others.
function whose({ rows, without_contributor: nameless }) {
  if (!nameless) return "Contributor, if not the one in each row";
  return nameless === rows ? "Contributor, who is paid for them" : `Contributor of all rows, because ${count(nameless)} ${nameless === 1 ? "names" : "name"} none`;
}

function drawTake(held, acts, line) {
  const { report, datanet, measured } = held, { measure, forget, unmeasure } = acts;
  const lose = button("Forget the file", forget);
  if (!report.rows) return h("div", { class: "buttons above" }, lose);
  if (!datanet) return note("warn", "You have no Datanet yet. Create one above; the file stays here.", lose, "datanet create NAME --licence CC-BY-4.0");
  if (!datanet.isOwn) return note("warn", `Only the owner of ${datanet.name} takes rows. Sign yours as their contributor, and send the owner the signed file.`, h("span", { class: "buttons" }, report.kind === "signed" ? drawWithdraw(report, datanet) : button(`Sign ${rowsOf(report.rows)}…`, acts.sign, { kind: "primary", key: "sign", disabled: held.isBusy }), lose), report.kind === "signed" ? withdrawWords(datanet) : wordsOf(held));
  const isSigned = report.kind === "signed";
  const canTake = () => isSigned || Boolean(held.contributor) || !report.without_contributor;
  const who = h("input", { id: "files-contributor", value: held.contributor, autocomplete: "off", spellcheck: "false", placeholder: "0x… or a name", dataset: { key: "contributor" }, oninput: () => { held.contributor = who.value.trim(); line.change(wordsOf(held)); turn(check, !canTake()); unmeasure(); } });
  const check = button(measured ? "Check again" : `Check ${rowsOf(report.rows)}`, measure, { kind: measured ? "" : "primary", key: "measure", disabled: held.isBusy || !canTake() });
  return h("div", { class: "above" }, isSigned ? facts([["Signed by", id(report.signed.account)]]) : h("div", { class: "field" }, h("label", { for: who.id }, whose(report)), who),
    h("div", { class: "buttons" }, says(check, line, () => wordsOf(held)), lose), measured && drawMeasured(held, acts, line));
}

function drawMeasured(held, { take }, line) {
  const { measured, datanet } = held;
  const declare = h("input", { type: "checkbox", id: "files-declare", checked: held.isDeclared, dataset: { key: "declare" }, onchange: () => { held.isDeclared = declare.checked; turn(go, !held.isDeclared); } });
  const go = button(`Contribute ${rowsOf(measured.rows)}`, take, { kind: "primary", key: "take", disabled: held.isBusy || !held.isDeclared });
  return h("div", { class: "above" }, drawNumbers(measured.gate.numbers), drawBreaches(measured), drawCopies(measured),
    measured.unpaid > 0 && h("p", { class: "note12" }, `${count(measured.unpaid)} have a contributor without an address. You can name one when you approve them; until then their earnings go to the treasury.`),
    h("label", { class: "check above" }, declare, `Whoever is named as the contributor wrote these rows, or may give them away, and gives them under ${datanet.licence}. They hold nothing private.`),
    h("div", { class: "buttons above8" }, says(go, line, () => wordsOf(held))));
}

function drawBreaches({ num_breaches: total, breaches }) {
  return total > 0 && h("div", { class: "above" }, h("h3", {}, `${rowsOf(total)} left out by the policy`), table({
    caption: "Rows that the policy does not take", rows: breaches, key: ({ row }) => String(row), columns: [{ label: "Row", head: true, tight: true, cell: ({ row }) => count(row) }, { label: "Left out, because", cell: ({ reason }) => reason }],
  }), total > breaches.length && h("p", { class: "note12" }, `and ${count(total - breaches.length)} more`));
}

const withdrawWords = ({ id: datanet }, file = "FILE") => `datanet withdraw ${datanet} --file ${quoted(file)}`;

// One transaction takes 512 rows.
function drawWithdraw({ name, rows, signed }, datanet) {
  const go = () => act({
    title: `Withdraw ${rowsOf(rows)}`, sentence: "Later versions and trainings leave them out, for good, and their pay ends.", verb: "datanet withdraw", args: { datanet: datanet.id, rows: signed.rows, contributor: null, file: null }, words: withdrawWords(datanet, name), does: "Withdraw",
  });
  return button(`Withdraw ${rowsOf(rows)}…`, go, { kind: "danger", key: "withdraw signed", disabled: !signed.rows.length || signed.datanet_id !== datanet.id });
}

const nextButton = ({ waiting, isBusy }, { next }) => waiting.length > 0 && button(`Read ${waiting[0].name}`, next, { key: "next file", disabled: isBusy });

function drawTaken({ taken, isBusy, ...held }, acts) {
  return h("div", { class: "above" }, note("ok", `${rowsOf(taken.rows)} ${taken.rows === 1 ? "waits" : "wait"} in ${taken.datanet} as batch ${taken.digest.slice(0, 10)}. Nothing changes until you approve the batch below.`),
    h("div", { class: "buttons above" }, nextButton({ isBusy, ...held }, acts)));
}
