// Datanets: rows from people, reviewed, published as versions, and what they earned for whom.
import { get, money, Refused } from "../lib/api.js";
import { cliLine, quoted, says } from "../lib/cli.js";
import { act, openDialog } from "../lib/dialog.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { filesPanel } from "../lib/files.js";
import { amount, count, NONE, short } from "../lib/format.js";
import { rowsOf } from "../lib/gate.js";
import { screenKeys } from "../lib/keys.js";
import { button, chip, emptyState, heading, note, panel, turn } from "../lib/parts.js";
import { approveDialog, drawReview, lookAtBatch, rejectDialog } from "../lib/review.js";
import { setParams } from "../lib/route.js";
import { drawStanding, drawVersions } from "../lib/standing.js";
import { table } from "../lib/table.js";

export const title = "Datanets";

const LOOK_MS = 3000, CHAIN_MS = 30e3;
const RULES = [["suffix-v1", 1, "suffix-v1, by the text"], ["poa-v3", 7, "poa-v3, experimental"]];
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const isId = (key) => /^0x[0-9a-f]{64}$/.test(key ?? ""); // a name may begin with 0x too

let lib; // once there is a network

export function mount(root, params) {
  const held = { own: null, chain: null, chosen: params.datanet ?? null, opened: {}, curators: null, pulled: null, details: null, standing: null, batch: null, found: null, offset: 0, isMarked: false, why: null, askedChain: 0 };
  const ticked = new Set();
  const alert = part({ role: "alert" }, "div"), list = part(), review = part(), curators = part(), foreign = part(), versions = part({ class: "w5" }), standing = part({ class: "w7" });
  const files = filesPanel((batch) => { Object.assign(held, { batch: batch?.digest ?? held.batch, offset: 0, isMarked: false }); ticked.clear(); look(true); });
  root.append(heading("Datanets", "Rows from people, reviewed by you, and what they earn.", "datanet list"), h("div", { class: "grid" }, alert, list, foreign, files, review, curators, versions, standing));
  const own = () => held.own?.find((each) => each.name === held.chosen) ?? null;
  const theirs = () => (held.chain?.datanets ?? []).find((each) => each.id === held.chosen) ?? held.opened[held.chosen] ?? null;

  // What the node has here is asked each few seconds; the rest of a Datanet only when this says that it has changed.
  async function look(isForced = false) {
    try {
      const { datanets } = await get("/datanets/overview"), before = JSON.stringify(own());
      held.own = datanets;
      if (!own() && !theirs() && !isId(held.chosen)) held.chosen = datanets[0]?.name ?? held.chain?.datanets.find(isElsewhere)?.id ?? null;
      if (own() && (isForced || held.details?.name !== held.chosen || JSON.stringify(own()) !== before)) await lookAt();
      held.why = null;
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure; // gone: the frame says so
      if (failure instanceof Refused) held.why = failure.message;
    }
    draw();
  }

  async function lookAt() {
    const name = held.chosen, details = await get(`/datanets/${encodeURIComponent(name)}/details`);
    const waiting = details.batches.find((each) => each.state === "pending") ?? details.batches.at(-1);
    if (!details.batches.some((each) => each.digest === held.batch)) Object.assign(held, { batch: waiting?.digest ?? null, offset: 0, isMarked: false });
    const found = held.batch ? await lookAtBatch(name, held.batch, held) : null;
    if (name !== held.chosen) return; // another was chosen meanwhile
    if (found && held.isMarked && !found.num_found) return turnTo(0, false);
    Object.assign(held, { details, found });
    lookAtStanding();
    lookAtVersion();
  }

  // The curators of the chosen Datanet, and the terms of somebody else's; without a network there are none.
  async function lookAtVersion() {
    const { chosen } = held;
    if (!chosen || latest.state?.chain !== "ok") return;
    try {
      lib ??= await import("../lib/curators.js");
      const found = await lib.lookAtCurators(chosen);
      if (isId(chosen) && !found.is_registered) throw new Refused(`No Datanet ${chosen} is registered on this network. Check its id.`);
      if (isId(chosen)) held.opened[chosen] = { ...found, roles: [], rows: null, earned_wei: null };
      if (chosen === held.chosen) held.curators = found;
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
      const isListed = held.chain?.datanets.some((each) => each.id === chosen); // by final blocks, so it is there
      if (failure instanceof Refused && isId(chosen) && !isListed) Object.assign(held, { why: failure.message, chosen: null });
    }
    draw();
  }

  async function lookAtStanding() {
    const chosen = held.chosen;
    try {
      const found = chosen && await get(`/datanets/${encodeURIComponent(chosen)}/standing`);
      if (chosen === held.chosen) held.standing = found && { ...found, of: chosen };
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
    }
    draw();
  }

  async function lookAtChain() {
    if (latest.state?.chain !== "ok" || document.hidden) return;
    held.askedChain = Date.now();
    try {
      held.chain = await money("datanets");
      await look();
      await lookAtStanding();
      await lookAtVersion();
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
    }
  }

  const isElsewhere = (each) => !(each.roles.includes("owner") && held.own?.some(({ name }) => name === each.name));
  const made = (name) => { pick(name); return changed(); };
  const changed = async () => { await look(true); await lookAtChain(); };
  const pick = (key) => { Object.assign(held, { chosen: key, details: null, found: null, standing: null, curators: null, pulled: null, batch: null, offset: 0, isMarked: false }); ticked.clear(); setParams({ datanet: key }); draw(); look(true); if (isId(key)) { lookAtStanding(); lookAtVersion(); } };
  const pickBatch = (digest) => { Object.assign(held, { batch: digest, offset: 0, isMarked: false }); ticked.clear(); look(true); };
  const turnTo = (offset, isMarked = held.isMarked) => { Object.assign(held, { offset, isMarked }); return look(true); };

  async function attempt(work) {
    try {
      await work();
      await look(true);
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
      if (failure instanceof Refused) { held.why = failure.message; draw(); }
    }
  }

  async function pulled() {
    const found = await money("pull_rows", { datanet: held.chosen });
    held.pulled = `Version ${found.version} is here with ${rowsOf(found.rows)}. Train on it in the Factory.`;
  }

  const acts = () => ({ ticked, pick: pickBatch, turnTo, mark: () => turnTo(0, !held.isMarked), isMarked: held.isMarked, changed, attempt });

  function draw() {
    alert.show(held.why, (why) => why && note("bad", why));
    if (!held.own) return;
    const status = latest.state, ours = own(), other = theirs(), version = held.curators?.[ours ? "name" : "id"] === held.chosen ? held.curators : null;
    list.show({ own: held.own, chain: held.chain?.datanets ?? null, elsewhere: [...(held.chain?.datanets ?? []).filter(isElsewhere), ...Object.values(held.opened).filter(({ id, account, owner }) => account !== owner && !held.chain?.datanets.some((each) => each.id === id))], chosen: held.chosen, isLocal: status?.network === "local" }, (seen) => drawList(seen, pick, made));
    files.choose(ours ? { name: ours.name, licence: ours.licence, isOwn: true } : other ? { name: other.name, licence: other.licence, id: other.id, isOwn: false } : null);
    const details = ours && held.details?.name === held.chosen ? held.details : null;
    review.show(details && { datanet: details.name, batches: details.batches, found: held.found, isMarked: held.isMarked }, (seen) => seen && drawReview(seen, acts()));
    const terms = held.chain?.datanets.find((each) => each.name === held.chosen && each.roles.includes("owner")) ?? null;
    curators.show(ours && version?.is_registered && { name: ours.name, curators: version.curators, need: version.need, review: version.review }, (seen) => seen && lib.drawCurators(seen, acts()));
    foreign.show(!ours && version && { ...version, has: held.pulled }, (seen) => seen && lib.drawForeign(seen, { attempt, pulled, has: seen.has }));
    versions.show(details && { details, terms, chain: status?.chain ?? null, network: status?.network }, (seen) => seen && drawVersions(seen, changed));
    standing.show(held.standing?.of === held.chosen && held.chosen && { ...held.standing, name: held.standing.name ?? held.chosen }, (seen) => seen && drawStanding(seen, Boolean(ours)));
  }

  let isLooking = false, isChainLooking = false;
  const soon = async () => {
    if (!isLooking && !document.hidden) { isLooking = true; await look().finally(() => { isLooking = false; }); }
    if (!isChainLooking && Date.now() - held.askedChain > CHAIN_MS) { isChainLooking = true; await lookAtChain().finally(() => { isChainLooking = false; }); }
  };
  let was = null;
  const stop = on("state", (status) => { if (status.chain !== was) { was = status.chain; held.askedChain = 0; soon(); } else draw(); }), timer = setInterval(soon, LOOK_MS);
  const onBatch = (open) => () => { if (held.found && held.found.state !== "approved") open(held.found, acts()); };
  const letKeys = screenKeys({ a: onBatch(approveDialog), x: () => held.found?.state === "pending" && rejectDialog(held.found, acts()) });
  soon();
  const unmount = () => { clearInterval(timer); stop(); letKeys(); files.stop(); };
  unmount.changed = (given) => { if (given.datanet && given.datanet !== held.chosen) pick(given.datanet); };
  return unmount;
}

// ---- the list

function drawList({ own, elsewhere, chain, chosen, isLocal }, pick, made) {
  const create = button("Create…", () => createDialog(made), { key: "create", kind: own.length || elsewhere.length ? "small" : "primary" });
  if (!own.length && !elsewhere.length) {
    return emptyState({
      where: "Datanets · none yet", title: "No Datanet yet",
      text: isLocal ? "A Datanet is a named set of rows whose contributors are paid for what they taught. It is registered on a network, and this node is on none. You can look at files below, and train on them without a Datanet." : "A Datanet is a named set of rows whose contributors are paid for what they taught. Create one, drop a file below, approve its rows and publish them. Then train an adapter on them in the Factory.",
      buttons: isLocal ? [] : [create, button("Open another…", () => openById(pick), { key: "open another", changes: false })], words: isLocal ? "network join network.json" : "datanet create NAME --licence CC-BY-4.0",
    });
  }
  const line = cliLine("datanet list"), other = !isLocal && says(button("Open another…", () => openById(pick), { key: "open another", kind: "small", changes: false }), line, "datanet show ID"), known = new Map((chain ?? []).map((each) => [each.roles.includes("owner") ? each.name : each.id, each]));
  const rows = [...own.map((each) => ({ ...each, key: each.name, roles: ["owner", ...(known.get(each.name)?.roles ?? []).filter((role) => role !== "owner")], earned_wei: known.get(each.name)?.earned_wei ?? null })),
    ...elsewhere.map((each) => ({ ...each, key: each.id, newest: each.versions ? String(each.versions) : null, batches_waiting: 0, appeals_waiting: 0 }))];
  return panel({ class: "fill" }, "Your Datanets", h("span", { class: "buttons" }, other, says(create, line, "datanet create NAME --licence LICENCE")), table({
    caption: "Your Datanets", rows, key: (each) => each.key, chosen: chosen ?? "", open: (each) => pick(each.key),
    columns: [
      { label: "Datanet", head: true, cell: (each) => [each.name, h("small", {}, each.owner && !each.roles.includes("owner") ? `${each.licence}, of ${short(each.owner)}` : each.licence)] },
      { label: "Your role", cell: (each) => each.roles.join(", ") || NONE }, { label: "Rows", num: true, cell: (each) => count(each.rows) },
      { label: "Waiting", keep: true, cell: waiting }, { label: "Version", num: true, rank: 2, cell: (each) => each.newest ?? NONE },
      { label: "You earned, OPEN", num: true, rank: 2, cell: (each) => amount(each.earned_wei) },
    ],
  }), h("span", { class: "fill" }), line);
}

function waiting({ batches_waiting: batches, appeals_waiting: appeals }) {
  const found = [batches && `${batches} ${batches === 1 ? "batch" : "batches"}`, appeals && `${appeals} ${appeals === 1 ? "appeal" : "appeals"}`].filter(Boolean);
  return found.length ? found.map((each, n) => [n > 0 && " ", chip(each, "accent")]) : h("span", { class: "dim" }, "nothing");
}

const openById = async (pick) => (await import("../lib/curators.js")).openDialogById(pick);

// ---- create

function createDialog(made) {
  const given = { name: "", licence: "CC-BY-4.0", share: "", rule: RULES[0][0] }, line = cliLine("datanet create"), why = h("div", { role: "alert" });
  const input = (key, label, more = {}) => {
    const field = h("input", { id: `create-${key}`, value: given[key], autocomplete: "off", spellcheck: "false", ...more, oninput: () => { given[key] = field.value.trim(); show(); } });
    return h("div", { class: "field" }, h("label", { for: field.id }, label), field);
  };
  const rule = h("select", { id: "create-rule", onchange: () => { given.rule = rule.value; show(); } }, RULES.map(([name, , text]) => h("option", { value: name }, text)));
  const go = button("Continue", next, { kind: "primary" });
  const dialog = openDialog("Create a Datanet", h("p", {}, "The chain keeps these terms, and nobody can change them later."),
    input("name", "Name", { maxlength: "64", placeholder: "lake" }), input("licence", "Licence of the rows", { maxlength: "64" }), input("share", "Your share of what the rows earn, %, up to 50", { inputmode: "decimal", placeholder: "0" }),
    h("div", { class: "field" }, h("label", { for: rule.id }, "Rule that divides what they earn"), rule), why, line,
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), go));
  const words = () => ["datanet create", given.name ? quoted(given.name) : "NAME", `--licence ${quoted(given.licence || "LICENCE")}`, given.share && `--owner-share ${quoted(given.share)}`, given.rule !== RULES[0][0] && `--rule ${given.rule}`].filter(Boolean).join(" ");
  const isNamed = () => NAME.test(given.name), sharePpm = () => Math.round(1e4 * Number(given.share || 0));

  function show() {
    line.change(words());
    const isShare = Number.isFinite(sharePpm()) && sharePpm() >= 0 && sharePpm() <= 5e5;
    put(why, given.name && !isNamed() ? note("bad", "A name has up to 64 letters, digits, '.', '_' and '-', and begins with a letter or a digit.") : !isShare ? note("bad", "Your share is a number from 0 to 50.") : null);
    turn(go, !isNamed() || !given.licence || !isShare);
  }

  function next() {
    const args = { datanet: given.name, licence: given.licence, treasury: null, owner_ppm: sharePpm(), rules: [RULES.find(([name]) => name === given.rule)[1]] }, said = words();
    dialog.close();
    act({
      title: `Create ${given.name}`, sentence: "Registers its name, its licence and your share on the chain. The rows stay on this machine.", verb: "datanet create", args, words: said, does: "Create",
      next: "Drop a file below to contribute the first rows.", done: () => made(args.datanet),
    });
  }

  show();
  dialog.querySelector("input").focus();
}
