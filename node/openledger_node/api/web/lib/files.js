// A file that is dropped here: the node reads it, the page shows its rows, and nothing is taken before a button says so.
import { get, post, Refused, upload } from "./api.js";
import { cliLine, quoted, says } from "./cli.js";
import { coded, h, put } from "./dom.js";
import { count, NONE } from "./format.js";
import { button, chip, facts, note, panel, turn } from "./parts.js";
import { table } from "./table.js";

const FORMATS = ".jsonl,.ndjson,.json,.csv,.tsv,.md,.markdown,.txt,.text,.html,.htm,.pdf,.docx,.docm";
const ENCODINGS = ["", "utf-8", "utf-16-le", "utf-16-be", "windows-1252", "iso-8859-1", "iso-8859-15"];
const FLAWS_SHOWN = 10, BYTES_MAX = 64 * 2 ** 20;

const rowsOf = (n) => `${count(n)} ${n === 1 ? "row" : "rows"}`;

export function filesPanel() {
  const place = h("div", { class: "w12" });
  const held = { file: null, waiting: [], columns: "", encoding: "", keep: false, report: null, why: null, isBusy: false, taken: null, isApproved: false, datanets: [], datanet: null, contributor: "" };
  const draw = () => put(place, () => drawFiles(held, { read, take, approve, forget: skip, bring, next, draw }));

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
    Object.assign(held, { report: null, taken: null, isApproved: false });
    if (file.size > BYTES_MAX) throw new Refused(`${file.name} has more than 64 MiB: use openledger-node datanet contribute`, 413);
    if (before) await post(`/files/${before}/discard`);
    const query = new URLSearchParams({ name: file.name, columns: held.columns, encoding: held.encoding, keep: held.keep });
    const [report, { datanets }] = await Promise.all([upload(`/files?${query}`, file), get("/datanets")]);
    held.datanet ??= datanets[0]?.name ?? null;
    Object.assign(held, { report, datanets });
  });

  // Several files are shown one after the other, since each has columns and contributors of its own.
  const bring = (files) => { held.waiting = [...files].slice(1); return read(files[0]); };
  const next = () => { const [file, ...waiting] = held.waiting; held.waiting = waiting; return read(file); };

  const take = () => attempt(async () => {
    held.taken = await post(`/files/${held.report.draft}/take`, { datanet: held.datanet, contributor: held.contributor || null });
    held.report = null;
  });

  const approve = () => attempt(async () => {
    held.taken = await post(`/datanets/${encodeURIComponent(held.taken.datanet)}/approve`, { batch: held.taken.digest });
    held.isApproved = true;
  });

  const forget = () => attempt(async () => {
    const { draft } = held.report;
    Object.assign(held, { report: null, file: null });
    await post(`/files/${draft}/discard`);
  });
  const skip = async () => { await forget(); if (held.waiting.length && !held.why) await next(); };

  // A file that misses the zone must not take the page's place.
  const over = (event) => { event.preventDefault(); place.classList.toggle("over", event.type === "dragover"); };
  const drop = (event) => { over(event); if (event.dataTransfer?.files.length && !held.isBusy) bring(event.dataTransfer.files); };
  for (const name of ["dragover", "dragleave"]) addEventListener(name, over);
  addEventListener("drop", drop);
  place.stop = () => { for (const name of ["dragover", "dragleave"]) removeEventListener(name, over); removeEventListener("drop", drop); };
  draw();
  return place;
}

function drawFiles(held, acts) {
  const { file, report, why, isBusy, taken } = held;
  const field = h("input", { type: "file", id: "files-file", accept: FORMATS, class: "unseen", dataset: { key: "file" }, multiple: true, disabled: isBusy, onchange: () => field.files.length && acts.bring(field.files) });
  const line = cliLine(wordsOf(held));
  return panel({ class: "files" }, "Bring your files", "JSONL, CSV, Markdown, text, HTML, PDF or DOCX",
    h("div", { class: "drop" }, field, h("label", { for: "files-file" }, isBusy ? `Reading ${file?.name ?? ""}…` : "Drop files here, or choose them"), h("p", { class: "note12" }, "Nothing is taken before you say so."),
      held.waiting.length > 0 && h("p", { class: "note12" }, `Then: ${held.waiting.map(({ name }) => name).join(", ")}`)),
    why && h("div", { role: "alert" }, note("bad", why, nextButton(held, acts))),
    (report || (why && file)) && drawChoices(held, acts),
    report && drawReport(report),
    report && drawTake(held, acts, line),
    taken && drawTaken(held, acts, line), line);
}

function wordsOf({ file, report, taken, datanet, contributor, columns, encoding, keep, isApproved }) {
  if (taken) return isApproved ? `datanet publish ${quoted(taken.datanet)}` : `datanet approve ${quoted(taken.datanet)} ${taken.digest.slice(0, 10)}`;
  const flags = [columns && `--columns ${quoted(columns)}`, encoding && `--encoding ${encoding}`, keep && "--keep", contributor && `--contributor ${quoted(contributor)}`].filter(Boolean);
  return [report && datanet ? `datanet contribute ${quoted(datanet)}` : "datanet convert", file ? quoted(file.name) : "FILE", ...flags].join(" ");
}

// What to read differently: asked once the file was looked at.
function drawChoices(held, { read }) {
  const columns = h("input", { id: "files-columns", value: held.columns, autocomplete: "off", spellcheck: "false", placeholder: "prompt=question,completion=answer", dataset: { key: "columns" }, oninput: () => { held.columns = columns.value.trim(); } });
  const encoding = h("select", { id: "files-encoding", dataset: { key: "encoding" }, onchange: () => { held.encoding = encoding.value; } }, ENCODINGS.map((each) => h("option", { value: each, selected: each === held.encoding }, each || "as its first bytes say")));
  const keep = h("input", { type: "checkbox", id: "files-keep", checked: held.keep, dataset: { key: "keep" }, onchange: () => { held.keep = keep.checked; } });
  return h("details", { class: "advanced", open: Boolean(held.why || !held.report?.rows || held.report.flagged) }, h("summary", { dataset: { key: "read differently" } }, "Read it differently"),
    h("div", { class: "pairs above" }, h("div", { class: "field" }, h("label", { for: columns.id }, "Columns by name"), columns), h("div", { class: "field" }, h("label", { for: encoding.id }, "Encoding"), encoding)),
    h("div", { class: "check" }, keep, h("label", { for: keep.id }, "Take rows with personal data or secrets, too")),
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

function drawTake(held, { take, forget, draw }, line) {
  const { report, datanets } = held;
  if (!report.rows) return h("div", { class: "buttons above" }, button("Forget the file", forget));
  if (!datanets.length) return note("warn", "You have no Datanet yet. Create one, and drop the file again.", button("Forget the file", forget), "datanet create NAME --licence CC-BY-4.0");
  const choice = h("select", { id: "files-datanet", dataset: { key: "datanet of rows" }, onchange: () => { held.datanet = choice.value; draw(); } }, datanets.map(({ name, licence }) => h("option", { value: name, selected: name === held.datanet }, `${name} · ${licence}`)));
  const who = h("input", { id: "files-contributor", value: held.contributor, autocomplete: "off", spellcheck: "false", placeholder: "0x… or a name", dataset: { key: "contributor" }, oninput: () => { held.contributor = who.value.trim(); line.change(wordsOf(held)); turn(go, !canTake()); } });
  const canTake = () => Boolean(held.contributor) || !report.without_contributor;
  const go = button(`Take ${rowsOf(report.rows)}`, take, { kind: "primary", disabled: held.isBusy || !canTake() });
  return h("div", { class: "above" }, h("div", { class: "pairs" }, h("div", { class: "field" }, h("label", { for: choice.id }, "Into the Datanet"), choice),
    h("div", { class: "field" }, h("label", { for: who.id }, whose(report)), who)),
    h("div", { class: "buttons" }, says(go, line, () => wordsOf(held)), button("Forget the file", forget)));
}

const nextButton = ({ waiting, isBusy }, { next }) => waiting.length > 0 && button(`Read ${waiting[0].name}`, next, { key: "next file", disabled: isBusy });

function drawTaken(held, acts, line) {
  const { taken, isApproved, isBusy } = held;
  const words = isApproved ? `Batch ${taken.digest.slice(0, 10)} of ${taken.datanet} is approved. The next version that you publish contains its ${rowsOf(taken.rows)}.` : `${rowsOf(taken.rows)} ${taken.rows === 1 ? "waits" : "wait"} in ${taken.datanet} as batch ${taken.digest.slice(0, 10)}. Nothing changes until you approve the batch.`;
  const unpaid = taken.unpaid > 0 && h("p", { class: "note12" }, `${count(taken.unpaid)} have a contributor without an address, so their earnings go to the treasury. To name one, run datanet approve with --account NAME=0x… before you publish.`);
  return h("div", { class: "above" }, note("ok", words), unpaid, drawNumbers(taken.gate.numbers), drawCopies(taken),
    h("div", { class: "buttons above" }, !isApproved && says(button("Approve the batch", acts.approve, { kind: "primary", disabled: isBusy }), line, line.own), nextButton(held, acts)));
}

const NOT_MEASURED = "not measured";
const limitOf = ({ low, high }) => high === null ? NONE : low === null ? `at most ${high}` : `${low} to ${high}`;
const VERDICTS = { ok: ["ok", "ok"], look: ["look", "warn"], unmeasured: [NOT_MEASURED, ""] };

function drawNumbers(numbers) {
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

const EVIDENCE = { equal: "the same text", shingles: "three-word runs", words: "word fingerprint" };
const COPIES_SHOWN = 20;

function drawCopies({ datanet, digest, of_others: total, gate }) {
  if (!total) return null;
  const shown = gate.copies.slice(0, COPIES_SHOWN);
  return h("div", { class: "above" }, h("h3", {}, `${rowsOf(total)} ${total === 1 ? "copies a row" : "copy rows"} of other contributors, who are paid for ${total === 1 ? "it" : "them"}`),
    table({
      caption: "Rows that copy others", rows: shown, key: ({ row }) => String(row),
      columns: [
        { label: "Row", head: true, tight: true, cell: ({ row }) => count(row) },
        { label: "It begins", cell: ({ begins }) => begins },
        { label: "Copies", cell: (each) => `row ${each.of_row} of batch ${each.of_batch.slice(0, 10)}, of ${each.contributor}: ${each.of_begins}` },
        { label: "Recognised by", rank: 2, cell: ({ evidence }) => EVIDENCE[evidence] },
      ],
    }),
    total > shown.length && h("p", { class: "note12" }, `and ${count(total - shown.length)} more`),
    h("p", { class: "note12" }, "If one of them is no copy, appeal for it:"), cliLine(`datanet appeal ${quoted(datanet)} ${digest.slice(0, 10)} ROW --because TEXT`));
}
