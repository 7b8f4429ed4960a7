// Curators of a Datanet, and the files that people send each other. The node makes and reads them.
import { fetchApi, get, post } from "./api.js";
import { cliLine, quoted, says } from "./cli.js";
import { act } from "./dialog.js";
import { h, put } from "./dom.js";
import { count, id } from "./format.js";
import { drawNumbers, rowsOf } from "./gate.js";
import { openDialog } from "./modal.js";
import { button, chip, facts, note, panel, turn } from "./parts.js";
import { ask } from "./review.js";
import { download } from "./save.js";
import { table } from "./table.js";

const path = (name) => `/datanets/${encodeURIComponent(name)}`;

export async function fetchFile(route, body, name) {
  const response = await fetchApi("POST", `/operator${route}`, body);
  download(name, "application/json", await response.blob());
}

// ---- the owner

// drawCurators({name, curators, need, review}, {changed, attempt}): `review` is how the next version stands with them.
export function drawCurators({ name, curators, need, review }, acts) {
  const line = cliLine(need ? `datanet propose ${quoted(name)}` : `datanet curators ${quoted(name)} --set A,B,C --need 2`);
  const change = says(button(need ? "Change…" : "Name curators…", () => curatorsDialog({ name, curators, need }, acts), { key: "curators" }), line, `datanet curators ${quoted(name)} --set A,B,C --need 2`);
  if (!need) return panel({ class: "fill" }, "Curators", "none", h("p", { class: "dim" }, "You publish alone. With curators, the chain takes a version only if some of them have signed exactly its rows."), h("span", { class: "fill" }), h("div", { class: "buttons above" }, change), line);
  const { version, decisions, approvals, is_proposed: isProposed } = review, isEnough = approvals >= need;
  const propose = says(button(`Propose version ${version}`, () => acts.attempt(() => fetchFile(`${path(name)}/propose`, {}, `${name}-${version}.proposal.json`).then(acts.changed)), { kind: isEnough ? "" : "primary", key: "propose" }), line, `datanet propose ${quoted(name)}`);
  const said = (curator) => decisions.find((each) => each.curator === curator);
  return panel({ class: "fill" }, "Curators", `${need} of ${count(curators.length)} approve a version`,
    table({
      caption: "Curators", rows: curators.map((curator) => ({ curator, decision: said(curator) })), key: (each) => each.curator,
      columns: [
        { label: "Curator", head: true, cell: (each) => id(each.curator) },
        { label: `Version ${version}`, keep: true, cell: ({ decision }) => !decision ? h("span", { class: "dim" }, "not yet") : [chip(decision.approves ? "approves" : "rejects", decision.approves ? "ok" : "warn"), decision.reason && h("small", {}, decision.reason)] },
      ],
    }),
    h("p", { class: "note12 above8" }, isEnough ? `Version ${version} and its batches are approved. You can publish it.` : isProposed ? "Send the file to the curators, and drop what they send back above. Propose it again if the rows change." : "Propose what waits and what is approved: you get a file for the curators."),
    h("span", { class: "fill" }), h("div", { class: "buttons above" }, propose, change), line);
}

function curatorsDialog({ name, curators, need }, { changed }) {
  const line = cliLine("datanet curators"), why = h("div", { role: "alert" });
  const list = h("textarea", { id: "curators-list", rows: 4, spellcheck: "false", placeholder: "0x…", oninput: () => show() }), most = h("input", { id: "curators-need", inputmode: "numeric", value: String(need || 2), autocomplete: "off", oninput: () => show() });
  list.value = curators.join("\n");
  const found = () => [...new Set(list.value.split(/[\s,]+/).filter(Boolean))], number = () => Number(most.value);
  const go = button("Continue", next, { kind: "primary" });
  const dialog = openDialog(`Curators of ${name}`, h("p", {}, "Everybody sees the change. Without curators, you publish alone."),
    h("div", { class: "field" }, h("label", { for: list.id }, "Their addresses, one a line"), list), h("div", { class: "field" }, h("label", { for: most.id }, "Approvals that a version needs"), most), why, line,
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), go));
  const words = () => `datanet curators ${quoted(name)} ${found().length ? `--set ${found().join(",")} --need ${quoted(most.value)}` : "--none"}`;

  function show() {
    const wrong = found().find((each) => !/^0x[0-9a-fA-F]{40}$/.test(each)), isNeed = !found().length || (Number.isInteger(number()) && number() >= 1 && number() <= found().length);
    put(why, wrong ? note("bad", `“${wrong}” is no address: 0x and 40 hex digits.`) : isNeed ? null : note("bad", `The approvals needed are a number from 1 to ${count(found().length)}.`));
    line.change(words());
    turn(go, Boolean(wrong) || !isNeed);
  }

  function next() {
    const args = { datanet: name, curators: found(), need: found().length ? number() : 0 }, said = words();
    dialog.close();
    act({ title: `Curators of ${name}`, verb: "datanet curators", args, words: said, does: "Set", done: changed });
  }

  show();
  list.focus();
}

// ---- files that were dropped

export function drawProposal(shown, file, { turnTo, forget, decided }) {
  const { draft, name, version, num_new: total, offset, account, curators, old_root: oldRoot } = shown, isCurator = curators?.includes(account), last = offset + shown.shown.length;
  const line = cliLine(`datanet review ${quoted(file)}`), step = (label, to, isOff) => button(label, () => turnTo(to), { kind: "small", changes: false, disabled: isOff });
  const decide = (approves) => ask({
    title: `${approves ? "Approve" : "Reject"} version ${version} of ${name}`, about: `You get a file to send to the owner.${approves ? "" : " Your reason is published with the version."}`,
    label: !approves && "Why you reject it", does: approves ? "Approve" : "Reject", kind: approves ? "primary" : "danger", words: (because) => `datanet review ${quoted(file)} ${approves ? "--approve" : `--reject --because ${quoted(because || "TEXT")}`}`,
    send: (reason, password) => fetchFile(`/files/${draft}/decide`, { approves, reason, password }, `${name}-${version}.${account.slice(0, 10)}.decision.json`), acts: { changed: () => decided(approves) },
  });
  return h("div", { class: "above" }, h("h3", {}, `Version ${version} of ${name}: ${rowsOf(shown.rows)}, ${count(total)} of them new`),
    facts([["Datanet", h("code", {}, shown.datanet_id)], ["Licence", shown.licence], ["Rows’ root", id(shown.rows_root)]]),
    oldRoot && note(shown.is_registered ? "ok" : "warn", shown.is_registered ? "The other rows were published before, as the chain says." : "It is not checked that the other rows were published before: this node has not read the Datanet from the chain."),
    shown.numbers.length > 0 && drawNumbers(shown.numbers),
    !isCurator && note("warn", "You are no curator of this Datanet as this node knows it, so you can only look."),
    isCurator && h("div", { class: "buttons above" }, says(button("Approve…", () => decide(true), { kind: "primary", key: "approve version" }), line, `datanet review ${quoted(file)} --approve`), says(button("Reject…", () => decide(false), { kind: "danger", key: "reject version" }), line, `datanet review ${quoted(file)} --reject --because TEXT`), button("Forget the file", forget)),
    h("h3", { class: "above" }, total ? `New rows ${count(offset + 1)} to ${count(last)} of ${count(total)}` : "No new row"),
    h("ol", { class: "reviewed", "aria-label": "New rows of the version" }, shown.shown.map((row) => h("li", {},
      h("div", { class: "between" }, h("b", {}, `Row ${count(row.row)}`), h("span", { class: "note12" }, "by ", row.contributor)),
      h("pre", { class: "row-text", tabindex: "0", "aria-label": `Row ${row.row}`, dataset: { key: `text ${row.row}` } }, row.prompt, "\n", h("span", { class: "learned" }, row.completion)),
      row.masked.length > 0 && h("p", { class: "note12" }, `Masked here: ${row.masked.join(", ")}. The file itself still has it.`)))),
    total > last - offset && h("div", { class: "buttons" }, step("Earlier rows", Math.max(0, offset - 10), offset === 0), step("Later rows", last, last >= total)), line);
}

export function drawDecision(report, datanet, { forget, collect }) {
  const { curator, version, approves, reason } = report, what = `${approves ? "approves" : "rejects"} version ${version}`;
  const line = cliLine(`datanet collect ${datanet?.isOwn ? quoted(datanet.name) : "NAME"} ${quoted(report.name)}`);
  return h("div", { class: "above" }, h("h3", {}, `A curator ${what}`), facts([["Curator", id(curator)], ["Datanet", h("code", {}, report.datanet_id)], ["Because", reason || null]]),
    datanet?.isOwn ? h("div", { class: "buttons above" }, button(`Take it for ${datanet.name}`, collect, { kind: "primary", key: "collect" }), button("Forget the file", forget)) : note("warn", "Choose your Datanet in the list above. Only its owner takes decisions."), line);
}

export const collect = (datanet, draft) => post(`${path(datanet)}/collect`, { draft });
export const lookAtCurators = (datanet) => get(`${path(datanet)}/curators`);

// ---- a Datanet of somebody else

export function drawForeign(terms, { attempt, pulled, has }) {
  const line = cliLine(`datanet pull ${terms.id}`);
  return panel({ class: "fill" }, terms.name, "of somebody else", terms.description && h("p", {}, terms.description),
    facts([["Id on the chain", h("code", {}, terms.id)], ["Owner", id(terms.owner)], ["Licence", terms.licence], ["Versions", count(terms.versions)], ["Curators", terms.need ? `${terms.need} of ${count(terms.curators.length)}` : null]]),
    has && note("ok", has), h("span", { class: "fill" }), h("div", { class: "buttons above" }, button("Get its rows", () => attempt(pulled), { key: "pull", disabled: !terms.versions }), h("span", { class: "note12" }, terms.versions ? "From peers, to train on." : "Nothing is published yet.")), line);
}

export function openDialogById(open) {
  const line = cliLine("datanet show ID"), field = h("input", { id: "datanet-id", autocomplete: "off", spellcheck: "false", placeholder: "0x…", oninput: () => { line.change(`datanet show ${quoted(field.value.trim() || "ID")}`); turn(go, !/^0x[0-9a-f]{64}$/.test(field.value.trim())); } });
  const go = button("Open", () => { dialog.close(); open(field.value.trim()); }, { kind: "primary", changes: false });
  const dialog = openDialog("Open a Datanet", h("p", {}, "Sign rows for it, or get its rows."), h("div", { class: "field" }, h("label", { for: field.id }, "Id on the chain, which its owner tells"), field), line, h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), go));
  turn(go, true);
  field.focus();
}
