// Factory: four parts from rows to an adapter that can be paid for. What a training is, the node says; this page draws it.
import { get, post, Refused } from "../lib/api.js";
import { chart } from "../lib/chart.js";
import { cliLine, quoted, says } from "../lib/cli.js";
import { act, openDialog } from "../lib/dialog.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { bytes, count, decimal, NONE, percent, short, span, time } from "../lib/format.js";
import { rowsOf } from "../lib/gate.js";
import { button, chip, emptyState, facts, heading, meter, note, panel, progress, turn } from "../lib/parts.js";
import { table } from "../lib/table.js";

export const title = "Factory";

const THINK_MS = 300, LOSS_PX = 280;
const CHOICES = [["method", "Method", "methods"], ["sites", "Linear maps to adapt", "site_groups"], ["schedule", "Schedule of the learning rate", "schedules"], ["quantisation", "Base weights in the training", "quantisations"]];
const NUMBERS = [["rank", "Rank"], ["alpha", "Alpha"], ["layers", "Layers, from the top; 0 is all"], ["epochs", "Epochs"], ["batch_size", "Rows of a step"], ["learning_rate", "Learning rate"], ["warm_up_percent", "Warm-up, % of the steps"], ["weight_decay", "Weight decay, 0 to 1"], ["dropout", "Dropout, 0 to 0.9"], ["tokens_max", "Longest row, tokens"], ["held_out_percent", "Held out, % of the rows"], ["seed", "Seed"], ["evaluate", "Rows to evaluate on"]];
const OPEN = ["waiting", "training", "paused", "evaluating"];

export function mount(root) {
  const held = { order: { base: null, datanet: null, preset: "balanced", name: "" }, offset: 0, preview: null, estimate: null, why: null, isOpen: false, asked: 0, lookedUp: null, published: null, royalty: "" };
  const choose = part({ class: "w5" }), rows = part({ class: "w7" }), train = part({ class: "w7" }), evaluate = part(), publish = part();
  root.append(heading("Factory", "Four choices make an adapter. Look at the data before you start.", "factory status"),
    h("div", { class: "grid" }, choose, rows, train, h("div", { class: "w5 stack" }, evaluate, publish)));
  const live = { meter: h("div", {}), cost: h("span", { class: "note12" }), why: h("div", { role: "alert" }), line: cliLine("factory train --help"), start: null };

  const draw = () => {
    const factory = latest.factory, status = latest.state;
    if (!factory) return;
    const { run, runs } = factory, taught = run?.adapter ? run : factory.last_taught;
    choose.show({ bases: factory.bases, served: factory.served_base, datanets: factory.datanets, presets: factory.presets, usual: factory.usual }, (seen) => drawChoose(seen, held, live, { think, start }));
    rows.show({ preview: held.preview, why: held.why }, (seen) => drawRows(seen, () => { held.offset = held.preview.next_offset; think(); }));
    train.show({ run, runs }, (seen) => drawTrain(seen, order));
    evaluate.show({ run: taught, isBusy: factory.is_training }, (seen) => drawEvaluation(seen, order));
    publish.show({ run: taught && { number: taught.number, adapter: taught.adapter }, published: held.published, chain: status?.chain ?? null, network: status?.network }, (seen) => drawPublish(seen, held, lookUp));
    if (taught && taught.adapter !== held.lookedUp) lookUp(taught.adapter);
    drawStart(held, live, run);
  };

  // Under which name the adapter is published, if it is: publishing names its owner, and so gives it another id.
  async function lookUp(name) {
    held.lookedUp = name;
    try {
      const { adapters } = await get("/adapters"), own = adapters.find((each) => each.full_name === name);
      held.published = adapters.find((each) => own && each.bond_wei !== null && each.manifest.artifact_digest === own.manifest.artifact_digest)?.full_name ?? null;
    } catch (failure) {
      if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure; // gone: the frame says so
    }
    draw();
  }

  // What an order would be: asked once the person has stopped changing it.
  let timer = null;
  function think() {
    live.line.change(`factory train ${words(held.order)}`);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const asked = ++held.asked, query = new URLSearchParams(sent(held.order));
      query.delete("name");
      const estimates = `/factory/estimate?${query}`;
      try {
        const [preview, estimate] = await Promise.all([get(`/factory/preview?${query}&offset=${held.offset}`), get(estimates)]);
        if (asked !== held.asked) return;
        Object.assign(held, { preview, estimate, why: null });
      } catch (failure) {
        if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
        if (asked !== held.asked || !(failure instanceof Refused)) return;
        Object.assign(held, { preview: null, estimate: null, why: failure.message });
      }
      draw();
    }, THINK_MS);
  }

  async function order(path, body = {}) {
    try {
      await post(path, body);
      await look();
    } catch (failure) {
      if (!(failure instanceof Refused)) return;
      const dialog = openDialog("It was refused", note("bad", failure.message), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
    }
  }

  async function start() {
    put(live.why);
    try {
      await post("/factory/train", sent(held.order));
      await look();
    } catch (failure) {
      if (failure instanceof Refused) put(live.why, note("bad", [h("b", {}, "Nothing was begun. "), failure.message]));
    }
  }

  async function look() {
    latest.factory = await get("/factory");
    draw();
  }

  const stops = [on("factory", draw), on("state", draw), on("money", () => { if (held.lookedUp && !held.published) lookUp(held.lookedUp); })];
  look().catch(() => {});
  think();
  return () => { clearTimeout(timer); stops.forEach((stop) => stop()); };
}

// The order as its route takes it, and as its verb does; the sample stands where no Datanet was chosen.
function sent(order) {
  const given = Object.entries(order).filter(([, value]) => value !== null && value !== "");
  return Object.fromEntries([...given.filter(([name]) => name !== "datanet"), order.datanet ? ["datanet", order.datanet] : ["sample", true]]);
}

function words(order) {
  const flags = Object.entries(order).filter(([name, value]) => !["datanet", "name", "preset", "base"].includes(name) && value !== null && value !== "").map(([name, value]) => `--${name === "quantisation" ? "quantize" : name.replaceAll("_", "-")}${value === true ? "" : ` ${value}`}`);
  return [order.datanet ? `--datanet ${quoted(order.datanet)}` : "--sample", `--name ${order.name ? quoted(order.name) : "NAME"}`, order.base && `--base ${quoted(order.base)}`, order.preset !== "balanced" && `--preset ${order.preset}`, ...flags].filter(Boolean).join(" ");
}

// ---- 1 choose

function drawChoose({ bases, served, datanets, presets, usual }, held, live, { think, start }) {
  if (!bases.length) return emptyState({ where: "1 Choose · no base", title: "No base to train on", text: "An adapter is trained for one base, and none is on this machine. The Models screen says which ones fit it.", buttons: [h("a", { class: "button", href: "#/models", dataset: { key: "open models" } }, "Choose a base")], words: "models pull" });
  const { order } = held;
  const select = (name, label, options, value) => {
    const field = h("select", { id: `factory-${name}`, dataset: { key: name }, onchange: () => { order[name] = field.value || null; held.offset = 0; change(); } }, options.map(([key, text]) => h("option", { value: key, selected: key === (value ?? "") }, text)));
    return labelled(label, field);
  };
  const name = h("input", { id: "factory-name", value: order.name, autocomplete: "off", spellcheck: "false", maxlength: "64", placeholder: "harbour", dataset: { key: "name" }, oninput: () => { order.name = name.value.trim(); change(); } });
  const numbers = NUMBERS.map(([key, label]) => {
    const field = h("input", { id: `factory-${key}`, inputmode: "decimal", autocomplete: "off", value: order[key] ?? "", placeholder: String(given(key)), dataset: { key }, oninput: () => { const typed = Number(field.value); order[key] = field.value.trim() === "" || !Number.isFinite(typed) ? null : typed; change(); } });
    return [key, field, labelled(label, field)];
  });
  const choices = CHOICES.map(([key, label, of]) => select(key, label, usual[of].map((each) => [each === usual[key] ? "" : each, CALLED[each] ?? each]), order[key]));
  const check = (key, label) => {
    const field = h("input", { type: "checkbox", id: `factory-${key}`, checked: Boolean(order[key]), dataset: { key }, onchange: () => { order[key] = field.checked || null; change(); } });
    return h("label", { class: "check" }, field, label);
  };
  const summary = h("summary", { dataset: { key: "advanced" } }, "");
  const advanced = h("details", { class: "advanced", open: held.isOpen, ontoggle: () => { held.isOpen = advanced.open; } }, summary, h("div", { class: "pairs above" }, choices, numbers.map(([, , field]) => field)), check("gradient_checkpointing", "Compute layers twice instead of keeping them, which saves memory"), check("signals", "Build the index of signals that the rule poa-v3 (experimental) needs"));
  live.start = button("Start training", start, { kind: "primary" });

  function given(key) {
    if (key === "alpha") return order.method === "rslora" ? usual.rslora_alpha : 2 * (order.rank ?? given("rank"));
    return usual[key] ?? presets.find((each) => each.name === order.preset)?.[key] ?? "";
  }

  function change() {
    const value = (key) => order[key] ?? given(key);
    for (const [key, field] of numbers) field.placeholder = String(given(key));
    const own = numbers.find(([key]) => key === "held_out_percent")[1];
    own.disabled = !order.datanet; // the sample has held-out rows of its own
    if (own.disabled) { own.value = ""; order.held_out_percent = null; }
    summary.textContent = `Advanced: ${CALLED[value("method")]}, rank ${value("rank")}, α ${value("alpha")}, learning rate ${value("learning_rate")}, rows of at most ${count(value("tokens_max"))} tokens, seed ${value("seed")}`;
    drawStart(held, live, latest.factory?.run);
    think();
  }

  const kept = [...datanets.map((each) => [`${each.id ?? each.name}@${each.version}`, `${each.name} ${each.version}${each.id ? `, of ${short(each.id)}` : ""} · ${rowsOf(each.rows)} · ${each.licence}`]), ["", "sample · 90 rows about an invented town"]];
  if (order.datanet === null && datanets.length && !held.hasChosen) order.datanet = kept[0][0];
  held.hasChosen = true;
  change();
  return panel({ class: "fill" }, "1 Choose", null,
    select("base", "Base", bases.map((each) => [each === served ? "" : each, each === served ? `${each} · served here` : each]), order.base),
    select("datanet", "Datanet", kept, order.datanet),
    !datanets.length && h("p", { class: "note12 hint" }, "No Datanet of yours is published here yet, so you can train on the sample rows. ", h("a", { href: "#/datanets", dataset: { key: "open datanets" } }, "Make one of your files"), "."),
    select("preset", "Preset", presets.map((each) => [each.name, `${each.name[0].toUpperCase()}${each.name.slice(1)} · rank ${each.rank}, ${each.layers ? `${each.layers} layers` : "all layers"}, ${each.epochs} epochs`]), order.preset),
    labelled("Name", name), advanced, h("div", { class: "above" }, live.meter), live.why,
    h("p", { class: "note12 above" }, "The node trains beside what it serves, and both are slower meanwhile. Nothing is paid before you publish."),
    h("span", { class: "fill" }), h("div", { class: "buttons" }, live.start, live.cost), live.line);
}

const CALLED = { lora: "LoRA", rslora: "rsLoRA", dora: "DoRA", auto: "by the memory that is free", none: "wide", int4: "in 4 bits" };
const weights = (form, why) => `Base weights: ${CALLED[form]}; ${why}.`;

const labelled = (label, field) => h("div", { class: "field" }, h("label", { for: field.id }, label), field);

// What changes as the form is filled in: memory, minutes, and whether it can be begun.
function drawStart(held, live, run) {
  if (!live.start) return;
  const isBusy = Boolean(run && OPEN.includes(run.state)), { estimate } = held, isNamed = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(held.order.name);
  turn(live.start, isBusy || !isNamed || !estimate);
  const cost = isBusy ? `training ${run.number} is open: one runs at a time` : !estimate ? held.why ? "" : "counting tokens…" : !held.order.name ? "give it a name first" : !isNamed ? "a name holds letters, digits, '.', '_' and '-'" : `${estimate.time ? `about ${span(estimate.time.seconds)}, ${estimate.time.how}` : "time not known yet"} · ${count(estimate.steps)} steps`;
  if (live.cost.textContent !== cost) live.cost.textContent = cost;
  const facts = JSON.stringify(estimate ? [estimate.memory ?? estimate.why, estimate.why_quantisation] : null);
  if (live.shown === facts && live.meter.hasChildNodes()) return;
  live.shown = facts;
  put(live.meter, estimate && drawMemory(estimate));
}

function drawMemory({ memory, why, quantisation: form, why_quantisation: whyForm }) {
  if (!memory) return h("p", { class: "note12" }, why ?? "The memory is not known before.");
  const uses = [["Base", memory.base_bytes], ["Activations", memory.activations_bytes], ["Optimizer", memory.optimizer_bytes + memory.adapter_bytes], ["torch and the rest", memory.runtime_bytes]];
  const parts = uses.map(([label, value]) => ({ label, value, text: bytes(value) }));
  const free = memory.cap_bytes - memory.needed_bytes - memory.serving_bytes;
  if (memory.serving_bytes) parts.push({ label: "Serving", value: memory.serving_bytes, text: bytes(memory.serving_bytes), shade: -2 });
  if (free > 0) parts.push({ label: "Free", value: free, text: bytes(free), shade: -1 });
  return [h("div", { class: "between" }, h("h3", {}, "Memory"), h("span", { class: "note12" }, `${bytes(memory.needed_bytes)} of ${bytes(memory.cap_bytes)}, ${memory.how}`)), meter(parts, "Memory by use"),
    whyForm && h("p", { class: "note12" }, weights(form, whyForm)),
    !memory.fits && note("warn", `It does not fit: ${bytes(-free)} too much. Fewer rows of a step, fewer layers or a smaller base take less; pausing the node frees what serving holds.`, null, "pause")];
}

// ---- 1b the rows

const KINDS = { template: "template", text: "", learned: "learned", learned_template: "learned template" };

function drawRows({ preview, why }, others) {
  if (why) return panel({ class: "fill" }, "Rows as the model sees them", null, note("bad", why));
  if (!preview) return panel({ class: "fill" }, "Rows as the model sees them", null, h("p", { class: "dim" }, "Reading them…"));
  const { tokens } = preview;
  return panel({ class: "fill" }, "Three rows as the model sees them", button("Other three", others, { kind: "link", changes: false }),
    preview.rows.map((row, n) => h("pre", { class: "row-text", tabindex: "0", dataset: { key: `text ${n}` }, "aria-label": `A row of ${row.contributor}, ${row.tokens} tokens` }, row.pieces.map((piece) => h("span", { class: KINDS[piece.kind] }, piece.text)))),
    h("div", { class: "legend" }, h("span", {}, h("i", { class: "tint" }), "learned from (loss is taken here)"), h("span", {}, h("i", {}), "template tokens")),
    h("div", { class: "above" }, facts([
      ["Rows", `${count(preview.used)} to learn, ${count(preview.held_out)} held out, ${preview.dropped ? `${count(preview.dropped)} left out as longer than ${count(preview.tokens_max)} tokens` : "none too long"}`],
      ["Tokens", `${count(tokens.total)} · median ${count(tokens.median)} a row, longest ${count(tokens.longest)}`],
      ["People", `${count(preview.people)}, the largest with ${percent(preview.largest_share_ppm, 1e6, 1)} of the rows`],
      ["Template", "the tokenizer's own, pinned in the manifest"], ["Not for this", `${count(preview.held_out)} held-out rows never enter training or attribution`],
    ])), h("span", { class: "fill" }), cliLine(`factory preview ${preview.datanet.id === "sample" ? "--sample" : `--datanet ${quoted(`${preview.datanet.id}@${preview.datanet.version}`)}`}`));
}

// ---- 2 train

const TONES = { waiting: "accent", training: "accent", paused: "warn", evaluating: "accent", done: "ok", stopped: "", failed: "bad" };

function drawTrain({ run, runs }, order) {
  if (!run) {
    return emptyState({ where: "2 Train · nothing yet", title: "No training yet", text: "Give the adapter a name in part 1, then press Start training. The loss appears here. Both curves falling means that it learns; only the held-out curve rising means overfitting. You can pause a training, or stop it and keep the adapter so far." });
  }
  const line = cliLine(`factory status ${run.number}${OPEN.includes(run.state) ? " --watch" : ""}`), seen = run.progress;
  const points = (n) => run.history.filter((point) => point[n] !== null).map((point) => [point[0], point[n]]);
  const steps = seen?.steps ?? 1, ticks = [0, 1 / 3, 2 / 3, 1].map((part, n) => `${n ? "" : "step "}${count(Math.round(steps * part))}`);
  return panel({ class: "fill" }, "2 Train", `${run.name} · run ${run.number} · ${run.datanet.id} ${run.datanet.version}`,
    h("div", { class: "figures" }, figure("State", chip(run.who === "elsewhere" ? `${run.state}, by another process` : run.state, TONES[run.state])), figure("Step", seen ? `${count(seen.step)} of ${count(steps)}` : NONE), figure("Loss", decimal(seen?.loss, 3)), figure("Held out", decimal(seen?.held_out_loss, 3)),
      figure("Tokens/s", seen?.tokens_per_s ? count(Math.round(seen.tokens_per_s)) : NONE), run.state === "training" && figure("Left", seen?.time_left_s === null || !seen ? NONE : span(seen.time_left_s))),
    progress(seen ? seen.step / steps : 0, "Steps made, of all"),
    run.history.length > 1 && h("div", { class: "above loss" }, chart({
      title: "Loss", say: (value) => decimal(value, 3), series: [{ name: "training", points: points(1) }, { name: "held out", points: points(2), dashed: true }], xs: [0, steps], below: ticks, height: LOSS_PX, words: `from step 0 to ${count(seen.step)} of ${count(steps)}, `,
    })),
    notes(run), h("span", { class: "fill" }), actions(run, line, order), line, drawRuns(runs, run));
}

const figure = (label, value) => h("div", {}, h("span", { class: "note12" }, label), h("b", {}, value));

function notes(run) {
  const last = run.restarts.at(-1);
  return [
    run.format_why && h("p", { class: "note12" }, weights(run.job.quantisation, run.format_why)),
    run.error && note("bad", [h("b", {}, "It gave up. "), run.error]),
    run.is_cut_off && note("warn", `This training is not running, because its process has ended. It can continue from its last checkpoint, or start again if there is none.`, null, "factory resume"),
    last && note("", `${time(last.at)}: ${last.step ? `it went on from step ${count(last.step)}` : "it began again from the start"}, since ${last.why}.`),
    run.stage && [note("", stageWords(run.stage)), run.stage.name === "answering" && progress(run.stage.done / run.stage.total, "Answers given, of all")],
  ];
}

const STAGES = { answering: "Base and adapter answer held-out rows", indexing: "The attribution index is written", adding: "The adapter is added to the library" };

function stageWords({ name, done, total, time_left_s: left }) {
  return `${STAGES[name]}${name === "answering" ? `: ${count(done)} of ${count(total)} answers` : ""}${left ? `, ${span(left)} left` : ""}.`;
}

function actions(run, line, order) {
  const isOurs = run.who !== null, step = run.progress?.step;
  if (!OPEN.includes(run.state)) return null;
  const canGoOn = run.state === "paused" || run.is_cut_off, canKeep = ["training", "paused"].includes(run.state) && Boolean(step);
  const goOn = canGoOn ? says(button("Resume", () => order("/factory/resume"), { kind: "primary", key: "pause training" }), line, "factory resume")
    : says(button("Pause", () => order("/factory/pause"), { key: "pause training", disabled: run.state !== "training" || !isOurs }), line, "factory pause");
  const keep = says(button(step ? `Stop and keep step ${count(step)}` : "Stop and keep", () => order("/factory/stop", { keep: true }), { key: "keep", disabled: !canKeep }), line, "factory stop --keep");
  const stop = says(button("Stop…", () => askStop(run, canKeep, order), { key: "stop training" }), line, "factory stop");
  return h("div", { class: "buttons" }, goOn, keep, stop, run.state === "training" && run.progress && h("span", { class: "note12" }, `A kill loses at most ${count(Math.max(1, Math.min(50, Math.floor(run.progress.steps / 10))))} steps.`));
}

// Ends a training for good, so it is asked first.
function askStop(run, canKeep, order) {
  const line = cliLine("factory stop"), back = button("Cancel", () => dialog.close(), { changes: false });
  const end = (keep) => { dialog.close(); order("/factory/stop", { keep }); };
  const keep = button("Stop and keep", () => end(true), { disabled: !canKeep }), discard = button(run.adapter ? "Stop" : "Stop and discard", () => end(false), { kind: "danger" });
  const dialog = openDialog(...stopWords(run, canKeep), line, h("div", { class: "buttons" }, back, says(keep, line, "factory stop --keep"), says(discard, line, "factory stop")));
  back.focus();
}

// The dialog's title, and what will be.
function stopWords({ name, number, adapter, progress }, canKeep) {
  const step = progress?.step ?? 0;
  if (adapter) return ["Stop the evaluation", h("p", {}, `${adapter} stays in the library.`)];
  return [step ? `Stop and discard ${count(step)} ${step === 1 ? "step" : "steps"}` : "Stop the training",
    h("p", {}, `What run ${number} of ${name} has learned is thrown away for good. `, canKeep ? "To keep makes an adapter of it." : "There is nothing to keep just now.")];
}

function drawRuns(runs, run) {
  const before = runs.filter((each) => each.number !== run.number).slice(0, 5);
  return before.length > 0 && h("div", { class: "above" }, h("h3", {}, "Before"), table({
    caption: "Trainings before this one", rows: before, key: (each) => String(each.number),
    columns: [
      { label: "Run", head: true, tight: true, cell: (each) => String(each.number) }, { label: "Name", cell: (each) => each.name }, { label: "State", tight: true, cell: (each) => chip(each.state, TONES[each.state]) },
      { label: "Step", num: true, rank: 2, cell: (each) => each.steps ? `${count(each.step)} of ${count(each.steps)}` : NONE }, { label: "Held out", num: true, cell: (each) => decimal(each.held_out_loss, 3) }, { label: "Adapter", rank: 2, cell: (each) => each.adapter ? h("a", { href: `#/adapters?adapter=${encodeURIComponent(each.adapter)}`, dataset: { key: `adapter of ${each.number}` } }, each.adapter) : NONE },
    ],
  }));
}

// ---- 3 evaluate

const GAINS = [["Held-out loss", "loss", false, -1], ["ROUGE-L", "rouge_l", false, 1], ["Exact match", "exact", true, 1], ["General set, loss", "general_loss", false, -1]];

function drawEvaluation({ run, isBusy }, order) {
  const found = run?.evaluation, line = cliLine(`factory evaluate ${run?.number ?? ""}`.trim());
  if (!run?.adapter) return panel({}, "3 Evaluate", null, h("p", { class: "dim" }, "Base and adapter answer rows that were held out, side by side, and a set of common knowledge tells what was forgotten. It comes with the end of a training."), line);
  const rows = found && !found.error ? [...GAINS.map((each) => gain(each, found)), { name: "Wins side by side", base: NONE, adapter: percent(found.wins.share, 1), change: `± ${decimal(100 * found.wins.plus_minus, 0)}`, tone: "" }] : [];
  return panel({}, "3 Evaluate", found && !found.error ? `${run.adapter}, on ${count(found.rows)} of ${count(run.held_out)} held-out rows` : run.adapter,
    found?.error && note("warn", found.error), !found && h("p", { class: "dim" }, "It was not evaluated beside its base yet."),
    rows.length > 0 && table({
      caption: "Base and adapter on held-out rows", rows, key: (row) => row.name,
      columns: [{ label: "", about: "Measure", head: true, cell: (row) => row.name }, { label: "Base", num: true, cell: (row) => row.base }, { label: "Adapter", num: true, cell: (row) => row.adapter }, { label: "Change", num: true, cell: (row) => h("span", { class: row.tone }, row.change) }],
    }),
    found?.samples && drawSamples(found.samples),
    h("div", { class: "buttons above" }, h("a", { class: "button", href: `#/chat?adapter=${encodeURIComponent(run.adapter)}`, dataset: { key: "chat before" } }, "Chat before you publish"),
      says(button(found ? "Evaluate again" : "Evaluate", () => order("/factory/evaluate", { run: run.number }), { disabled: isBusy }), line, `factory evaluate ${run.number}`)), line);
}

// Answers beside the contributor's own: what the figures are made of.
function drawSamples(samples) {
  return h("details", { class: "advanced" }, h("summary", { dataset: { key: "samples" } }, `Side by side: ${count(samples.length)} of the answers`),
    samples.map((each) => h("div", { class: "above" }, h("b", {}, each.prompt), facts([["Held-out row", each.reference], ["Base", each.base || NONE], ["Adapter", each.adapter || NONE]]))));
}

function gain([name, key, isShare, better], found) {
  const { base, adapter } = found[key], scale = isShare ? 100 : 1, places = isShare ? 1 : 3, unit = isShare ? " %" : "", change = scale * (adapter - base);
  const tone = Math.abs(change) < 0.5 * 10 ** -places ? "" : Math.sign(change) === better ? "ok" : "warn";
  return { name, base: `${decimal(scale * base, places)}${unit}`, adapter: `${decimal(scale * adapter, places)}${unit}`, change: `${change > 0 ? "+" : ""}${decimal(change, places)}`, tone };
}

// ---- 4 publish

const ROYALTY = 10, ROYALTY_MAX = 20; // percent, unless another is typed, as the chain has it

function drawPublish({ run, published, chain, network }, held, lookUp) {
  if (run && published) return panel({ class: "fill" }, "4 Publish", run.adapter, h("p", {}, `It is published as ${published}. To change it, train a new version and publish that.`), h("span", { class: "fill" }), h("div", { class: "buttons" }, h("a", { class: "button", href: `#/adapters?adapter=${encodeURIComponent(published)}`, dataset: { key: "see published" } }, "See it under Adapters")), cliLine(`adapters inspect ${quoted(published)}`));
  const percentage = () => Number(held.royalty || ROYALTY), isRoyalty = () => Number.isFinite(percentage()) && percentage() >= 0 && percentage() <= ROYALTY_MAX;
  const words = () => `factory publish ${run?.number ?? ""}${held.royalty ? ` --royalty ${quoted(held.royalty)}` : ""}`.trim(), line = cliLine(words());
  const royalty = h("input", { id: "factory-royalty", value: held.royalty, inputmode: "decimal", autocomplete: "off", placeholder: String(ROYALTY), dataset: { key: "royalty" }, oninput: () => { held.royalty = royalty.value.trim(); line.change(words()); turn(publish, !canPublish()); tellRoyalty(); } }), wrong = h("div", { role: "alert" });
  const tellRoyalty = () => put(wrong, isRoyalty() ? null : note("bad", `A royalty is a number from 0 to ${ROYALTY_MAX}.`));
  const canPublish = () => Boolean(run) && chain === "ok" && isRoyalty();
  const go = () => act({
    title: `Publish ${run.adapter}`, sentence: `Registers its digest, the Datanets that taught it and your royalty of ${decimal(percentage(), 2).replace(/\.?0+$/, "")} % on the chain, under a bond. Published versions are final: to change one, publish a new version.`,
    verb: "adapters publish", args: { adapter: run.adapter, royalty_ppm: Math.round(1e4 * percentage()) }, words: words(), does: "Publish", done: () => lookUp(run.adapter),
  });
  const publish = button("Publish…", go, { kind: "primary", disabled: !canPublish() });
  const why = !run ? "When training ends, publish the adapter here." : chain === null ? network === "local" ? "This node is on no network, so nobody can buy answers. The adapter still serves this machine." : "The chain has not answered yet." : chain !== "ok" ? `The chain is ${chain}: publishing waits until it answers.` : null;
  return panel({ class: "fill" }, "4 Publish", run?.adapter, h("p", { class: "dim" }, "Peers fetch the adapter and its attribution index from this node; the chain keeps its digest, its Datanets and your royalty. Published versions are final: to change one, publish a new version."),
    h("div", { class: "above" }, labelled(`Your royalty, % of what its answers earn, up to ${ROYALTY_MAX}`, royalty), wrong),
    why && h("p", { class: "note12" }, why), h("span", { class: "fill" }), h("div", { class: "buttons" }, says(publish, line, words)), line);
}
