// Adapters: what this node can serve, where each one lies, and what it does.
import { get, money, post } from "../lib/api.js";
import { attempter } from "../lib/attempt.js";
import { reclaimBond, retireBond } from "../lib/bonds.js";
import { sparkline } from "../lib/chart.js";
import { cliLine, quoted, says } from "../lib/cli.js";
import { act, openDialog } from "../lib/dialog.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { amount, bytes, count, decimal, id, NONE, open as openAmount, percent, price, short, time } from "../lib/format.js";
import { button, chip, emptyState, facts, heading, note, panel, progress, strip, tile, turn } from "../lib/parts.js";
import { drawPull, isPulling } from "../lib/pulling.js";
import { setParams } from "../lib/route.js";
import { table } from "../lib/table.js";
import { toast } from "../lib/toast.js";

export const title = "Adapters";

const LOOK_MS = 4000, WORK_MS = 1000, SHOWN = 50;

export function mount(root, params) {
  const held = { listing: null, price: null, chosen: params.adapter ?? null, details: null, filter: "", all: false, wanted: "", work: null, isPulling: false, came: null, search: null, offerFilter: "", allOffers: false };
  const tiles = part(), empty = part(), list = part(), details = part({ class: "w7" }), bring = part(), offer = part(), demand = part();
  const error = h("div", { role: "alert" });
  root.append(heading("Adapters", "What this node can serve, where each one lies, and what it earns.", "adapters list"), h("div", { class: "grid" }, tiles, empty, error, list, details, bring, offer, demand));

  const draw = () => {
    const { listing } = held, status = latest.state;
    if (!listing || !status) return;
    const rows = rowsOf(listing), chosen = rows.find((row) => row.key === held.chosen) ?? (held.chosen ? null : rows.find((row) => !row.why) ?? rows[0] ?? null);
    const isGpu = status.engine?.device === "cuda";
    tiles.show({ memory: listing.memory, disk: listing.disk, n: listing.adapters.length, offered: offered(), isGpu }, drawTiles);
    empty.show(rows.length === 0, (isEmpty) => isEmpty && emptyState({
      where: "Adapters · none", title: "No adapter is here yet", text: "The base answers requests meanwhile. The factory trains an adapter in minutes, and sample rows are included. You can also pull one below.",
      buttons: [h("a", { class: "button", href: "#/factory", dataset: { key: "open factory" } }, "Open the factory")], words: "factory train --sample --name harbour",
    }));
    list.show(rows.length > 0 && { rows, chosen: chosen?.key, filter: held.filter, all: held.all, price: held.price, isGpu }, (seen) => seen && drawList(seen, held, { draw, choose, pin }));
    details.show(chosen ? { row: chosen, details: held.details?.full_name === chosen.key ? held.details : null, chain: status.chain, base: status.base } : held.chosen && { gone: held.chosen }, (seen) => seen && (seen.gone ? drawGone(seen.gone) : drawDetails(seen, { look, remove })));
    bring.className = details.hasChildNodes() ? "w5" : "";
    held.work && bring.show({ now: held.work.pull, came: held.came, offers: offers(), network: status.network }, (seen) => drawBring(seen, held, { pull, cancel, add }));
    offer.show(held.search && latest.peers && { ...held.search, numPeers: status.peers, filter: held.offerFilter, all: held.allOffers, isPulling: held.isPulling, loads: listing.memory?.loads ? listing.memory.load_ms_median : null }, (seen) => seen && drawOffers(seen, held, { draw, pull }));
    demand.show(latest.peers && status.demand && { ...status.demand, offered: held.search?.adapters ?? [], base: status.base, isPulling: held.isPulling }, (seen) => seen && drawDemand(seen, { pull }));
    if (chosen && !chosen.why && held.details?.full_name !== chosen.key && held.asked !== chosen.key) inspect(chosen.key);
  };

  const attempt = attempter(error);

  async function look() {
    await attempt(async () => {
      [held.listing, held.price] = await Promise.all([get("/adapters"), get("/price")]);
      draw();
    }, false);
  }

  const search = () => latest.peers && attempt(async () => {
    held.search = await money("search");
    draw();
  }, false);

  async function inspect(name) {
    held.asked = name;
    await attempt(async () => {
      held.details = await get(`/adapters/inspect?name=${encodeURIComponent(name)}`);
      draw();
    }, false);
  }

  function choose(key) {
    held.chosen = key;
    setParams({ adapter: key });
    draw();
  }

  const pin = (row) => attempt(async () => {
    const found = await post(row.is_pinned ? "/adapters/unpin" : "/adapters/pin", { adapter: row.key });
    toast(found.is_pinned ? `${row.key} stays in memory` : `${row.key} may leave memory`);
    await look();
  });

  function remove(row) {
    const why = h("div", { role: "alert" });
    const go = () => attempter(why)(async () => {
      await post("/adapters/remove", { adapter: row.key });
      dialog.close();
      toast(`Removed ${row.key}`);
      held.chosen = held.details = held.asked = null;
      await look();
    });
    const dialog = openDialog(`Remove ${row.name}`, h("p", {}, `Its ${bytes(row.size)} are deleted from this disk. Running answers are not interrupted. Peers that fetched it keep their copies.`),
      h("p", {}, row.bond_wei === null ? "It is not published: only a new training or another copy brings it back." : row.free_at ? `It is retired.${row.bond_wei === "0" ? "" : ` Money still shows its bond of ${openAmount(row.bond_wei)} OPEN and takes it back.`}` : `It is published under a bond of ${openAmount(row.bond_wei)} OPEN: that stays, but its answers then need a new training or a peer’s copy.`), why,
      cliLine(`adapters remove ${quoted(row.key)}`), h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), button(`Remove ${short(row.name, 20)}`, go, { kind: "danger" })));
  }

  // The node pulls by itself: leaving the page ends nothing, and a page that is opened meanwhile shows it.
  const follow = () => attempt(async () => {
    held.work = await get("/adapters/work");
    const now = held.work.pull, wasPulling = held.isPulling;
    held.isPulling = isPulling(now);
    if (wasPulling && now?.state === "done") held.chosen = now.adapter;
    if (wasPulling && !held.isPulling) await Promise.all([look(), search()]);
    draw();
  }, false);
  const pull = (name) => attempt(async () => {
    held.came = null;
    held.work = await post("/adapters/pull", { name });
    held.isPulling = true;
    draw();
  });
  const cancel = () => attempt(async () => { held.work = await post("/adapters/pull/cancel"); held.isPulling = false; draw(); });

  async function add(folder) {
    held.came = null;
    try {
      const found = await post("/adapters/add", { folder });
      held.came = { tone: "", text: `${found.full_name} was added: ${bytes(found.size_bytes)}, rank ${found.rank_max}. Its shapes, numbers and base were checked.` };
      held.chosen = found.full_name;
    } catch (failure) {
      held.came = { tone: "bad", text: `Nothing was added. ${failure.message}` };
    }
    await look();
    draw();
  }

  const stops = [on("state", draw), on("peers", () => { search(); draw(); })], timers = [setInterval(look, LOOK_MS), setInterval(follow, WORK_MS)];
  look();
  follow();
  const unmount = () => { timers.forEach(clearInterval); stops.forEach((stop) => stop()); };
  unmount.changed = (now) => { if (now.adapter && now.adapter !== held.chosen) { held.chosen = now.adapter; draw(); } };
  return unmount;
}

const offered = () => latest.peers ? new Set(latest.peers.peers.flatMap((peer) => peer.adapters)).size : null;

// name → how many peers offer it
function offers() {
  const found = {};
  for (const peer of latest.peers?.peers ?? []) for (const name of peer.adapters) found[name] = (found[name] ?? 0) + 1;
  return found;
}

function rowsOf({ adapters, refused }) {
  const isAlone = (name) => adapters.filter((each) => each.name === name).length === 1;
  const served = adapters.map((each) => ({
    key: each.full_name, name: each.name, label: isAlone(each.name) ? each.name : each.full_name, size: each.size_bytes, rank: each.rank_max, where: each.state, is_pinned: each.is_pinned, usage: each.usage, bond_wei: each.bond_wei, free_at: each.bond_free_at, withdrawn: each.withdrawn, datanets: each.datanets, manifest: each.manifest, adapter_id: each.id, why: null,
  }));
  const others = Object.entries(refused).map(([folder, why]) => ({ key: folder, name: folder, label: folder, where: "refused", why }));
  return [...served.sort((a, b) => (b.usage?.calls ?? 0) - (a.usage?.calls ?? 0) || (a.key < b.key ? -1 : 1)), ...others];
}

// ---- 1 the tiers

function drawTiles({ memory, disk, n, offered, isGpu }) {
  const asked = memory ? memory.hits + memory.misses : 0;
  return strip("tiles",
    tile({ label: isGpu ? "GPU" : "Memory", value: memory && count(memory.resident.length), after: word(memory?.resident.length), context: memory ? `${bytes(memory.resident_bytes)} of ${bytes(memory.budget_bytes)}, ${memory.pinned.length} pinned` : "the node is not running", more: memory && progress(memory.resident_bytes / memory.budget_bytes, "Adapters in memory, of their budget") }),
    tile({ label: "Disk", value: count(n), after: word(n), context: `${bytes(disk.adapters_bytes)}${disk.cap_bytes ? `; ${bytes(disk.used_bytes)} of ${bytes(disk.cap_bytes)} in all` : ", no cap"}`, more: disk.cap_bytes && progress(disk.used_bytes / disk.cap_bytes, "Disk, of your cap") }),
    tile({ label: "On the network", value: offered === null ? null : count(offered), after: word(offered), context: offered === null ? "this machine alone" : "known by their advertisements" }),
    tile({ label: "Cold load", value: memory?.loads ? decimal(memory.load_ms_median, memory.load_ms_median < 10 ? 1 : 0) : null, after: "ms median", context: memory?.loads ? `p95 ${decimal(memory.load_ms_p95, 0)} ms, ${count(memory.loads)} ${memory.loads === 1 ? "load" : "loads"}` : "none was loaded yet" }),
    tile({ label: "Found in memory", value: asked ? percent(memory.hits, asked, 1) : null, context: asked ? `of ${count(asked)} ${asked === 1 ? "request" : "requests"} with an adapter` : "no request named one yet" }));
}

const word = (n) => n === 1 ? "adapter" : "adapters";

// ---- 2 the list

function where(row, isGpu) {
  if (row.why) return chip("refused", "bad");
  return [row.where === "in_memory" ? chip(isGpu ? "GPU" : "memory", "accent") : chip("disk"), row.is_pinned && h("small", {}, "pinned"), row.withdrawn && h("small", { class: "warn" }, "rows withdrawn")];
}

function drawList({ rows, chosen, filter, all, price: own, isGpu }, held, { draw, choose, pin }) {
  const wanted = filter.toLowerCase();
  const matching = rows.filter((row) => !wanted || [row.key, row.manifest?.base.name, ...(row.datanets ?? []).flatMap((each) => [each.id, each.name])].some((text) => String(text ?? "").toLowerCase().includes(wanted)));
  const shown = all ? matching : matching.slice(0, SHOWN), rest = matching.length - shown.length;
  const field = h("input", { class: "filter", type: "search", value: filter, placeholder: "Filter  /", "aria-label": "Filter the adapters", dataset: { key: "filter" }, oninput: () => { held.filter = field.value; draw(); } });
  const line = cliLine("adapters list");
  return panel({ "aria-label": "Held here" }, "Held here", field, table({
    caption: "Adapters on this machine", rows: shown, key: (row) => row.key, chosen, open: (row) => choose(row.key),
    columns: [
      { label: "Adapter", head: true, cell: (row) => [row.label, h("small", {}, row.why ? "not served" : about(row))] },
      { label: "Where", tight: true, cell: (row) => where(row, isGpu) },
      { label: "Size", num: true, rank: 2, cell: (row) => bytes(row.size) }, { label: "Rank", num: true, rank: 2, cell: (row) => count(row.rank) },
      { label: "Calls, 24 h", num: true, cell: (row) => row.why ? NONE : count(row.usage?.calls ?? 0) },
      { label: "", about: "By hour", tight: true, rank: 2, cell: (row) => row.usage && sparkline(row.usage.by_hour) },
      { label: "Price / 1k", num: true, rank: 2, cell: (row) => row.why ? NONE : price(own?.price_wei) },
      { label: "Earned, 24 h", num: true, rank: 2, cell: (row) => row.why ? NONE : row.usage ? amount(row.usage.earned_wei) : amount("0") },
      { label: "", num: true, cell: (row) => row.why ? button("Why", () => choose(row.key), { kind: "small", key: `why ${row.key}`, changes: false, "aria-label": `Why ${row.key} is not served` })
        : says(button(row.is_pinned ? "Unpin" : "Pin", () => pin(row), { kind: "small", key: `pin ${row.key}`, "aria-label": `${row.is_pinned ? "Unpin" : "Pin"} ${row.key}` }), line, `adapters ${row.is_pinned ? "unpin" : "pin"} ${quoted(row.key)}`) },
    ],
  }), matching.length === 0 && h("p", { class: "dim" }, `No adapter matches ${filter}.`),
  rest > 0 && h("div", {}, button(`Show ${rest} more`, () => { held.all = true; draw(); }, { kind: "link", changes: false })), line);
}

const about = (row) => `${row.manifest.base.name} · ${(row.datanets ?? []).map((each) => each.name ?? short(each.id)).join(", ") || "no Datanet stated"}`;

// ---- 3 the chosen one

const drawGone = (name) => panel({ class: "fill" }, name, "not here", note("warn", [h("b", {}, `${name} was removed. `), "Its files are no longer on this disk. Train it again, or fetch it from a peer that offers it."]), cliLine("adapters list"));

function drawDetails({ row, details, chain, base }, { look, remove }) {
  if (row.why) {
    return panel({ class: "fill" }, row.name, "not served", note("bad", [h("b", {}, `${row.name} was refused. `), `${row.why}. Nothing of it was loaded.`], null, "adapters list"),
      h("p", { class: "note12 above" }, "It hides itself and nothing else. Its folder stays until you mend or delete it."));
  }
  const { manifest } = row, training = manifest.training, measured = manifest.evaluation;
  const line = cliLine(`adapters inspect ${quoted(row.key)}`), isOther = base !== null && manifest.base.name !== base;
  const publish = () => act({
    title: `Publish ${row.key}`, sentence: "Registers its digest, its Datanets and your royalty on the chain, under a bond that comes back after you retire it. It can't be changed afterwards, only followed by another one.",
    verb: "adapters publish", args: { adapter: row.key }, words: `adapters publish ${quoted(row.key)}`, does: "Publish", done: look,
  });
  return panel({ class: "fill" }, row.key, row.is_pinned ? "pinned" : row.where === "in_memory" ? "in memory while it is used" : "on the disk until somebody asks for it", facts([
    ["Base", [manifest.base.name, " ", id(manifest.base.digest, 6), isOther ? h("span", { class: "warn" }, ` · another one than ${base}, which is served`) : ""]],
    ["Id", id(row.adapter_id, 8)], ["Owner", manifest.owner && id(manifest.owner)],
    ["Published", row.bond_wei === null ? null : !row.free_at ? `under a bond of ${openAmount(row.bond_wei)} OPEN` : row.bond_wei === "0" ? "retired; its bond was taken back" : `retired; its bond of ${openAmount(row.bond_wei)} OPEN is free ${Date.parse(row.free_at) > Date.now() ? `at ${time(row.free_at)}` : "now"}`],
    ["Withdrawn", row.withdrawn && h("span", { class: "warn" }, row.withdrawn.says)],
    ["Taught by", row.datanets?.length ? row.datanets.map((each, n) => [n > 0 && ", ", h("span", { title: each.id }, `${each.name ?? short(each.id)} ${each.version}`)]) : "not stated"],
    ["Trained", training && [`rank ${training.config?.rank ?? row.rank}`, training.config?.epochs && `${training.config.epochs} epochs`, training.rows && `${count(training.rows)} ${training.rows === 1 ? "row" : "rows"}`, training.seed !== undefined && `seed ${training.seed}`, String(training.started ?? "").slice(0, 10)].filter(Boolean).join(", ")],
    ["Held-out loss", measured?.loss_after !== undefined ? `${decimal(measured.loss_after, 3)} (base ${decimal(measured.loss_before, 3)})` : null],
    ["Changes", details && `${details.modules.join(", ")}, ${details.dtypes.join("/")}${details.is_dora ? ", DoRA" : ""}`],
    ["Checked", details?.checks.map((each) => h("div", {}, h("span", { class: each.ok === false ? "bad" : each.ok ? "ok" : "dim" }, each.ok === false ? "✕ " : each.ok ? "✓ " : "– "), each.says))],
    ["Attribution index", manifest.index_root ? [details?.index_bytes ? `${bytes(details.index_bytes)}, root ` : "root ", id(manifest.index_root)] : "none: its answers pay no contributor"],
    ["License", manifest.license],
  ]), h("span", { class: "fill" }), h("div", { class: "buttons" },
    h("a", { class: "button primary", href: `#/chat?adapter=${encodeURIComponent(row.label)}`, dataset: { key: "chat with it" } }, "Chat with it"),
    chain === "ok" && row.bond_wei === null && says(button("Publish…", publish), line, `adapters publish ${quoted(row.key)}`),
    chain === "ok" && manifest.owner === latest.state?.address && BigInt(row.bond_wei ?? 0) > 0n && (row.free_at ? Date.parse(row.free_at) <= Date.now() && says(button("Take bond back…", () => reclaimBond(row.key, row.bond_wei, look)), line, `adapters reclaim ${quoted(row.key)}`) : says(button("Retire…", () => retireBond(row.key, row.bond_wei, look)), line, `adapters retire ${quoted(row.key)}`)),
    says(button("Remove from disk…", () => remove(row)), line, `adapters remove ${quoted(row.key)}`)), line);
}

// ---- 4 another one

const HUB = /^[^/~][^/]*\/[^/]+$/;

function drawBring({ now, came, offers, network }, held, { pull, cancel, add }) {
  const hint = h("p", { class: "note12" }), line = cliLine("adapters pull NAME"), isBusy = isPulling(now);
  const isFolder = () => /^[/~]/.test(held.wanted.trim());
  const field = h("input", { id: "bring", value: held.wanted, autocomplete: "off", spellcheck: "false", dataset: { key: "bring" }, placeholder: "harbour, OWNER/NAME, or /folder", oninput: change });
  const go = button("Pull", () => pull(field.value.trim()), { kind: "primary" }), take = button("Add from disk", () => add(field.value.trim()));
  field.addEventListener("keydown", (event) => event.key === "Enter" && held.wanted.trim() && (isFolder() ? take : go).click());
  change();

  function change() {
    held.wanted = field.value;
    const wanted = held.wanted.trim();
    turn(go, isBusy || !wanted || isFolder());
    turn(take, !wanted || !isFolder());
    line.change(isFolder() ? `adapters add ${quoted(wanted)}` : `adapters pull ${wanted ? quoted(wanted) : "NAME"}`);
    put(hint, hintFor(wanted, offers[wanted], network, isFolder()));
  }

  return panel({ class: "fill" }, "Add or pull", null, h("div", { class: "field" }, h("label", { for: "bring" }, "Name or id that peers offer, a repository on the Hugging Face hub, or a folder here"), field), hint,
    h("div", { class: "buttons above" }, go, take), line,
    now && drawPull(now, { pull, cancel, done: pulled, words: `adapters pull ${quoted(now.name)}` }),
    came && note(came.tone, came.text));
}

function hintFor(wanted, n, network, isFolder) {
  if (isFolder) return "A folder in PEFT format on the node's machine: it is copied and checked before it is served.";
  if (HUB.test(wanted)) return "A LoRA adapter in PEFT format on the Hugging Face hub. It is checked against the base that is served.";
  if (n) return `${n} ${n === 1 ? "peer offers" : "peers offer"} it. Everything is checked before it is loaded.`;
  if (network === "local") return "This node is on no network, so there are no peers to pull from. You can pull from the Hugging Face hub, or add a folder on its disk.";
  return "Each piece is checked on arrival. A pull goes on when you leave the page, and an interrupted one resumes.";
}

function pulled(now) {
  const from = now.from_peer ? `${bytes(now.received_bytes)} from ${short(now.from_peer, 6)}` : `${bytes(now.received_bytes)} from the Hugging Face hub`;
  const missing = [...new Set(Object.values(now.missing_versions ?? {}))];
  return note(now.made_for || missing.length ? "warn" : "", [h("b", {}, `${now.adapter} is here. `), now.received_bytes ? `${from}, checked. ` : "It was in the library already. ",
    now.made_for && `Its files name ${now.made_for} as its base, so its answers may be poor on the base that is served. `, missing.length > 0 && `The rows of its Datanet are not here, so it can't be sold or checked: ${missing.join("; ")}. Pull it again to ask peers for them.`]);
}

// ---- 5 what others offer

function drawOffers({ base, adapters, num_unoffered: numUnoffered = 0, numPeers, filter, all, isPulling, loads }, held, { draw, pull }) {
  const wanted = filter.toLowerCase(), line = cliLine("adapters search");
  const matching = inOrder(adapters).filter((each) => !wanted || [each.full_name, each.id, each.base, each.owner, ...taughtBy(each)].some((text) => String(text ?? "").toLowerCase().includes(wanted)));
  const shown = all ? matching : matching.slice(0, SHOWN), rest = matching.length - shown.length;
  const field = h("input", { class: "filter", type: "search", value: filter, placeholder: "Filter", "aria-label": "Filter what others offer", dataset: { key: "filter offers" }, oninput: () => { held.offerFilter = field.value; draw(); } });
  const act = (each) => each.is_here ? chip("here") : each.is_our_base
    ? says(button("Pull", () => pull(each.full_name), { kind: "small", key: `pull ${each.id}`, disabled: isPulling, "aria-label": `Pull ${each.full_name}` }), line, `adapters pull ${quoted(each.full_name)}`)
    : chip("another base", "warn");
  return panel({ "aria-label": "On the network" }, "On the network", adapters.length > 0 && field, adapters.length === 0 ? h("p", { class: "dim" }, numPeers ? "No other node offers an adapter now. The list fills as advertisements arrive." : "No peer is connected, so no offers are heard. ", !numPeers && h("a", { href: "#/peers", dataset: { key: "open peers" } }, "See the peers"))
    : table({
      caption: "Adapters that other nodes offer", rows: shown, key: (each) => `${each.base_digest} ${each.id}`,
      columns: [
        { label: "Adapter", head: true, cell: (each) => [each.name, h("small", {}, id(each.id, 6)), taughtBy(each).length > 0 && h("small", {}, `taught by ${taughtBy(each).join(", ")}`), each.withdrawn && h("small", { class: "warn" }, each.withdrawn.says)] },
        { label: "Base", rank: 2, cell: (each) => [each.base ?? id(each.base_digest, 6), !each.is_our_base && h("small", {}, `not ${base}, which is served`)] },
        { label: "Price / 1k", num: true, cell: (each) => [price(each.price_wei), each.price_cold_wei && h("small", {}, "up to ", price(each.price_cold_wei), " if loaded first")] },
        { label: "Sellers", num: true, rank: 2, cell: (each) => [count(each.num_sellers), h("small", {}, each.num_in_memory === each.num_sellers ? "in memory" : each.num_in_memory ? `${count(each.num_in_memory)} in memory` : "on disk, loaded when you ask")] },
        { label: "Earned", num: true, rank: 2, cell: (each) => each.earned_wei == null ? NONE : [openAmount(each.earned_wei), h("small", {}, each.num_claims === 1 ? "in 1 claim" : `in ${count(each.num_claims)} claims`)] },
        { label: "", num: true, cell: act },
      ],
    }), adapters.length > 0 && matching.length === 0 && h("p", { class: "dim" }, `No adapter on the network matches ${filter}.`),
  rest > 0 && h("div", {}, button(`Show ${rest} more`, () => { held.allOffers = true; draw(); }, { kind: "link", key: "more offers", changes: false })),
  adapters.some((each) => each.price_cold_wei) && h("p", { class: "note12" }, `A seller that has an adapter on disk only loads it for the first request. ${loads ? `On this machine a load takes ${decimal(loads, loads < 10 ? 1 : 0)} ms (median). ` : ""}It may ask more for that, up to the price that it advertises, and later requests find the adapter in memory.`),
  adapters.length > 0 && h("p", { class: "note12" }, "Advertisements have no sizes and ranks; these are known once an adapter arrives. One for another base can be pulled while that base is served (Models). Earned is the gross of an adapter’s answers in claims on the chain, which tells it for adapters with Datanets."),
  numUnoffered > 0 && h("p", { class: "note12" }, `${numUnoffered === 1 ? "1 registered adapter is" : `${count(numUnoffered)} registered adapters are`} offered by no other node now. The command lists them:`), line);
}

const taughtBy = (each) => (each.datanets ?? []).map((datanet) => datanet.name ?? id(datanet.id, 6));

// As the command sorts them: what this base can run, then what has earned most.
function inOrder(adapters) {
  const earned = (each) => BigInt(each.earned_wei ?? 0), sign = (value) => (value > 0n) - (value < 0n);
  return [...adapters].sort((a, b) => b.is_our_base - a.is_our_base || sign(earned(b) - earned(a)) || b.num_sellers - a.num_sellers || (a.full_name < b.full_name ? -1 : 1));
}

// ---- 6 what was asked for and is not here

// The adapters that other nodes called for in vain, and the models that this machine asked for and nobody offers.
function drawDemand({ adapters, wanted, offered, base, isPulling }, { pull }) {
  const lacking = adapters.filter((each) => each.lacking > 0), line = cliLine("adapters search");
  const sellerOf = (each) => offered.find((one) => one.id === each.adapter_id && one.is_our_base) ?? null;
  const rows = [
    ...lacking.map((each) => ({ key: each.adapter_id, label: each.model ?? sellerOf(each)?.name ?? "no name heard", small: id(each.adapter_id, 6), who: "other nodes", times: each.lacking, by_hour: each.by_hour, seller: sellerOf(each) })),
    ...wanted.map((each) => ({ key: `wanted ${each.model}`, label: each.model, small: null, who: "this machine", times: each.requests, by_hour: each.by_hour, seller: null })),
  ];
  const act = (row) => row.seller
    ? says(button("Pull", () => pull(row.seller.full_name), { kind: "small", key: `pull wanted ${row.key}`, disabled: isPulling, "aria-label": `Pull ${row.seller.full_name}` }), line, `adapters pull ${quoted(row.seller.full_name)}`)
    : chip("nobody offers it", "warn");
  return panel({ "aria-label": "Asked for and not here" }, "Asked for and not here", rows.length > 0 && "in the last 24 hours", rows.length === 0
    ? h("p", { class: "dim" }, `In the last 24 hours, nobody asked for an adapter of ${base ?? "the base"} that this node does not have.`)
    : table({
      caption: "Models that were asked for and are not here", rows, key: (row) => row.key,
      columns: [
        { label: "Model", head: true, cell: (row) => [short(row.label, 40), row.small && h("small", {}, row.small)] },
        { label: "Asked by", rank: 2, cell: (row) => row.who },
        { label: "24 h", num: true, cell: (row) => count(row.times) },
        { label: "By hour", rank: 2, cell: (row) => sparkline(row.by_hour) },
        { label: "Sellers", num: true, rank: 2, cell: (row) => row.seller ? count(row.seller.num_sellers) : "0" },
        { label: "", num: true, cell: act },
      ],
    }), rows.length > 0 && h("p", { class: "note12" }, "A node that has such an adapter is asked to bid. Pulling one costs a download and disk space, and its first request waits for a load. One that nobody offers must be trained or added."), rows.length > 0 && line);
}
