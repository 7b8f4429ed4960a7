// Models: which bases are here, which fit this machine, and which one is served.
import { get, post } from "../lib/api.js";
import { attempter } from "../lib/attempt.js";
import { cliLine, quoted, says } from "../lib/cli.js";
import { openDialog } from "../lib/dialog.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { bytes, count, NONE, short } from "../lib/format.js";
import { button, chip, emptyState, heading, note, panel, turn } from "../lib/parts.js";
import { drawPull, isPulling } from "../lib/pulling.js";
import { table } from "../lib/table.js";
import { toast } from "../lib/toast.js";

export const title = "Models";

const LOOK_MS = 4000, WORK_MS = 1000, LOADING = ["draining", "starting"];

export function mount(root) {
  const held = { listing: null, known: null, work: null, wanted: "", looked: null, isLooking: false, change: null };
  const empty = part(), change = part(), here = part(), fits = part(), bring = part(), error = h("div", { role: "alert" });
  root.append(heading("Models", "Which bases are on this machine, which ones fit it, and which one it serves.", "models list"), h("div", { class: "grid" }, error, change, empty, here, bring, fits));
  let wasRunning = false;

  const draw = () => {
    const { listing, known, work } = held;
    if (listing) {
      empty.show(listing.models.length === 0 && listing.served, (served) => served && emptyState({
        where: "Models · none", title: "No base is here yet", text: served === "fake" ? "The node answers with the fake base, which is for tests. Pull a base below, then serve it." : "Pull a base below. The table says which ones fit this machine.", words: "models pull",
      }));
      here.show({ listing, isChanging: isChanging(held.change) }, (seen) => drawHere(seen, { use, remove, pull }));
    }
    if (work) {
      bring.show({ pull: work.pull, looked: held.looked, isLooking: held.isLooking }, (seen) => drawBring(seen, held, { look, pull, cancel }));
    }
    if (known) fits.show({ known, served: listing?.models.find((base) => base.is_served)?.name, isPulling: isPulling(work?.pull), isChanging: isChanging(held.change) }, (seen) => drawFits(seen, { use, pull }));
    change.show(held.change, drawChange);
  };

  const attempt = attempter(error, draw);
  const list = () => attempt(async () => { held.listing = await get("/models"); }, false);
  const judge = () => attempt(async () => { held.known = await get("/models/known"); }, false);
  const follow = () => attempt(async () => {
    held.work = await get("/models/work");
    const isRunning = isPulling(held.work?.pull);
    if (wasRunning && !isRunning) await Promise.all([list(), judge()]);
    wasRunning = isRunning;
  }, false);

  async function look(name) {
    Object.assign(held, { isLooking: true, looked: null });
    draw();
    try {
      held.looked = await get(`/models/look?name=${encodeURIComponent(name)}`);
    } catch (failure) {
      held.looked = { name, error: failure.message };
    }
    held.isLooking = false;
    draw();
  }

  const pull = (name, anyway = false) => attempt(async () => {
    held.work = await post("/models/pull", { name, anyway });
    held.looked = null;
    wasRunning = true;
  });
  const cancel = () => attempt(async () => { held.work = await post("/models/pull/cancel"); });

  function use(name) {
    const words = `models use ${quoted(name)}`, why = h("div", { role: "alert" }), live = latest.state?.requests?.live ?? 0;
    const go = button("Serve it", () => attempter(why, draw)(async () => {
      held.change = { ...await post("/models/use", { base: name }), name, state: null, why: null };
      dialog.close();
    }), { kind: "primary" });
    const dialog = openDialog(`Serve ${short(name, 24)}`,
      h("p", {}, `The node stops serving ${held.listing.served} and serves ${name} instead. Nothing is downloaded. The page comes back by itself.`),
      h("ul", {},
        h("li", {}, `${live ? `${count(live)} running ${live === 1 ? "answer finishes" : "answers finish"} first, and then the` : "The"} node starts again by itself. Until the base is loaded, it refuses new requests.`),
        h("li", {}, "Adapters of the old base stay on the disk. They can't be served until you serve their base again."),
        h("li", {}, "The node advertises the new base at the same price. Change the price on Home, Prices, if it should cost something else.")),
      why, cliLine(words), h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), go));
  }

  function remove(base) {
    const why = h("div", { role: "alert" });
    const go = button(`Remove ${short(base.name, 20)}`, () => attempter(why, draw)(async () => {
      const found = await post("/models/remove", { base: base.name });
      dialog.close();
      toast(`Removed ${base.name}: ${bytes(found.freed_bytes)} are free again`);
      await Promise.all([list(), judge()]);
    }), { kind: "danger" });
    const dialog = openDialog(`Remove ${short(base.name, 24)}`,
      h("p", {}, whatGoes(base)),
      h("p", {}, "Adapters that were made for it stay, and can’t be served without it."), why,
      cliLine(`models remove ${quoted(base.name)}`), h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), go));
  }

  // The node is gone for a moment while it starts again, and then says by its status what it serves.
  const hear = ({ base, state, engine }) => {
    if (!held.change) return;
    const isNew = base === held.change.name, why = isNew ? engine?.why_failed ?? null : null;
    held.change = isNew && !why && !LOADING.includes(state) ? null : { ...held.change, state: isNew ? state : null, why };
    if (isNew) list();
    draw();
  };

  const timers = [setInterval(list, LOOK_MS), setInterval(follow, WORK_MS)], stops = [on("link", () => latest.state && draw()), on("state", hear)];
  list();
  follow();
  judge();
  return () => { timers.forEach(clearInterval); stops.forEach((stop) => stop()); };
}

function whatGoes(base) {
  if (base.is_link) return `Only the link is deleted. The folder that ${base.folder} leads to stays as it is.`;
  if (base.gguf && !base.gguf.startsWith(`${base.folder}/`)) return `Only this node’s description of it is deleted. The file ${base.gguf} stays where it is.`;
  return `This deletes its files and frees about ${bytes(base.size_bytes)}. To serve it again you have to pull it again.`;
}

const isChanging = (change) => Boolean(change) && !change.why;

// ---- 1 the change of the base

function drawChange(change) {
  if (!change) return null;
  if (change.why) return note("bad", [h("b", {}, `${change.name} can’t be loaded. `), change.why], null, `models use ${quoted(change.from)}`);
  const words = change.state ? "The base loads." : "Running answers finish, and then the node starts again. This page comes back by itself.";
  return panel({ role: "status" }, `${change.from} → ${change.name}`, "the base changes", h("p", {}, words), cliLine(`models use ${quoted(change.name)}`));
}

// ---- 2 what is here

function drawHere({ listing, isChanging }, { use, remove, pull }) {
  const line = cliLine("models list");
  const act = (base) => base.is_served ? chip("served", "accent") : h("div", { class: "buttons" },
    says(button("Serve…", () => use(base.name), { kind: "small", key: `use ${base.name}`, disabled: isChanging || base.problem !== null, "aria-label": `Serve ${base.name}` }), line, `models use ${quoted(base.name)}`),
    says(button("Remove…", () => remove(base), { kind: "small", key: `remove ${base.name}`, disabled: isChanging, "aria-label": `Remove ${base.name}` }), line, `models remove ${quoted(base.name)}`));
  return [listing.models.length > 0 && panel({}, "On this machine", null, table({
    caption: "Bases on this machine", rows: listing.models, key: (base) => base.name,
    columns: [
      { label: "Base", head: true, cell: (base) => [base.name, h("small", {}, base.problem ?? base.source ?? base.folder)] },
      { label: "Size", num: true, cell: (base) => bytes(base.size_bytes) },
      { label: "Context", num: true, rank: 2, cell: (base) => count(base.context) },
      { label: "Format", rank: 2, cell: (base) => base.format },
      { label: "Licence", rank: 2, cell: (base) => base.license ?? NONE },
      { label: "", num: true, cell: act },
    ],
  }), line), listing.found.length > 0 && drawFound(listing.found, pull)];
}

function drawFound(found, pull) {
  const line = cliLine("models list");
  return panel({}, "In other programs", "used where they are", table({
    caption: "Models of other programs", rows: found, key: (each) => each.source,
    columns: [
      { label: "Model", head: true, cell: (each) => each.source }, { label: "Size", num: true, cell: (each) => bytes(each.size_bytes) },
      { label: "Format", rank: 2, cell: (each) => each.format ?? NONE },
      { label: "", num: true, cell: (each) => says(button("Use", () => pull(each.source), { kind: "small", key: `found ${each.source}`, "aria-label": `Use ${each.source}` }), line, `models pull ${quoted(each.source)}`) },
    ],
  }), line);
}

// ---- 3 another one

function drawBring({ pull: now, looked, isLooking }, held, { look, pull, cancel }) {
  const isRunning = now?.state === "running", line = cliLine("models pull NAME");
  const field = h("input", { id: "base-name", value: held.wanted, autocomplete: "off", spellcheck: "false", dataset: { key: "base-name" }, placeholder: "OWNER/NAME, OWNER/NAME:Q4_K_M, ollama:qwen3:8b, or /path/to/file.gguf", oninput: change });
  const check = button("Check the size", () => look(field.value.trim()), { changes: false });
  const go = button("Pull", () => pull(field.value.trim()), { kind: "primary" });
  field.addEventListener("keydown", (event) => event.key === "Enter" && held.wanted.trim() && check.click());
  change();

  function change() {
    held.wanted = field.value;
    turn(check, !held.wanted.trim() || isLooking);
    turn(go, !held.wanted.trim() || isRunning);
    line.change(`models pull ${quoted(held.wanted.trim() || "NAME")}`);
  }

  return panel({ class: "fill" }, "Pull a base", null, h("div", { class: "field" }, h("label", { for: "base-name" }, "Name on the Hugging Face hub, a model of Ollama or LM Studio, or a file here"), field),
    h("p", { class: "note12" }, "Each file is checked on arrival. A download goes on when you leave the page, and an interrupted one resumes."),
    h("div", { class: "buttons above" }, check, go), line,
    isLooking && h("p", { class: "above", role: "status" }, "Asking for its size…"), looked && drawLooked(looked, isRunning, pull), now && drawPull(now, { pull, cancel, done: pulled, words: `models pull ${quoted(now.name)}` }));
}

function drawLooked(looked, isRunning, pull) {
  if (looked.error) return note("bad", looked.error);
  const head = `${looked.name}: ${looked.base ? "on this machine already" : looked.download_bytes ? `${bytes(looked.download_bytes)} to download` : looked.size_bytes ? bytes(looked.size_bytes) : "size unknown, since its backend divides the memory itself"}${looked.license ? `, licence ${looked.license}` : ""}. `;
  if (!looked.fits) return note("warn", [h("b", {}, head), looked.why_not], button("Pull it anyway", () => pull(looked.name, true), { kind: "small", disabled: isRunning }));
  return note("", [h("b", {}, head), looked.forms.filter((form) => form.fits).map(formText).join(" ") || "How much context fits beside it is not known."]);
}

const formText = (form) => `${quantisation(form.quantisation)}: ${count(form.tokens)} tokens of context and ${count(form.num_adapters)} adapters.`;
const quantisation = (name) => name === "none" ? "Unquantised" : name;

const pulled = (now) => note("", [h("b", {}, `${now.base} is here. `), "You can serve it now."], null, `models use ${quoted(now.base)}`);

// ---- 4 what fits

function drawFits({ known, served, isPulling, isChanging }, { use, pull }) {
  const line = cliLine("setup"), { machine } = known;
  const shown = (base) => base.forms.find((form) => form.quantisation === base.served) ?? base.forms.at(-1);
  const about = (base) => [base.license, base.is_open ? "" : "needs a hub account", base.fits && !base.is_quick ? "slow on a CPU" : "", base.name === known.proposed ? "proposed" : ""].filter(Boolean).join(" · ");
  const act = (base) => base.base && base.base === served ? chip("served", "accent") : base.base
    ? says(button("Serve…", () => use(base.base), { kind: "small", key: `use known ${base.name}`, disabled: isChanging || !base.fits, "aria-label": `Serve ${base.name}` }), line, `models use ${quoted(base.base)}`)
    : says(button("Pull", () => pull(base.name), { kind: "small", key: `pull ${base.name}`, disabled: isPulling || !base.fits, "aria-label": `Pull ${base.name}` }), line, `models pull ${quoted(base.name)}`);
  return panel({}, "What fits this machine", null, h("p", { class: "note12" }, `${machine.place}. Planned, not measured; tokens are for all requests together, adapters have rank ${known.plan_rank}.`),
    machine.trouble && note("warn", `${machine.trouble.found}. ${machine.trouble.fix ?? ""}`),
    table({
      caption: "Bases that this release knows", rows: known.bases, key: (base) => base.name,
      columns: [
        { label: "Base", head: true, cell: (base) => [base.name, h("small", {}, about(base))] },
        { label: "Fits", tight: true, cell: (base) => base.fits ? chip(base.served === "none" ? "fits" : `fits in ${base.served}`, "ok") : [chip("too large", "warn"), h("small", {}, `lacks ${bytes(shown(base)?.lacks_bytes)}`)] },
        { label: "Download", num: true, rank: 2, cell: (base) => base.base ? "here" : bytes(base.download_bytes) },
        { label: "Memory", num: true, rank: 2, cell: (base) => bytes(shown(base)?.takes_bytes) },
        { label: "Tokens", num: true, rank: 2, cell: (base) => count(shown(base)?.tokens) },
        { label: "Adapters", num: true, rank: 2, cell: (base) => count(shown(base)?.num_adapters) },
        { label: "", num: true, cell: act },
      ],
    }), line);
}
