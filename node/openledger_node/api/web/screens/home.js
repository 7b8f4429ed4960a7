// Home: why the node does what it does, what it earned, and what would change it.
import { get, money, post, Refused } from "../lib/api.js";
import { chart } from "../lib/chart.js";
import { drawChecks } from "../lib/checks.js";
import { cliLine, says } from "../lib/cli.js";
import { drawDemand } from "../lib/demand.js";
import { openDialog } from "../lib/dialog.js";
import { coded, h, part, put } from "../lib/dom.js";
import { latest, on, poll } from "../lib/events.js";
import { amount, bytes, count, decimal, id, NONE, open as openAmount, seconds, sum, time } from "../lib/format.js";
import { idleSince, isAlone, memoryOf, moneyTrouble } from "../lib/facts.js";
import { limitsDialog } from "../lib/limits.js";
import { button, chip, emptyState, facts, heading, meter, note, panel, strip, tile } from "../lib/parts.js";
import { setPrice } from "../lib/price.js";
import { table } from "../lib/table.js";

export const title = "Home";

const PERIODS = [["Today", "today"], ["7 days", "7d"], ["30 days", "30d"], ["All", ""]];
const JOBS_FEW = 5, JOBS_MANY = 50, LOOK_AGAIN_MS = 5000;

export function mount(root) {
  const why = part(), checks = part(), demand = part(), tiles = part(), charts = part(), earnings = part({ class: "w7" }), machine = part({ class: "w5" }), jobs = part();
  const held = { earnings: null, noMoney: null, limits: null, jobs: null };
  root.append(heading("Home", "What the node does now, what it earned, and what would change it.", "status"),
    h("div", { class: "grid" }, why, tiles, checks, demand, charts, earnings, machine, jobs));

  const draw = () => {
    const status = latest.state;
    if (!status) return;
    why.show(whyFacts(status), drawWhy);
    checks.show({ checks: isAlone(status) && !fails(status) ? [] : status.checks ?? [], lost: status.bids_lost ?? [] }, drawChecks);
    demand.show(status.demand ?? {}, drawDemand);
    tiles.show({ earnings: held.earnings?.["7d"], noMoney: held.noMoney, isAlone: status.chain === null, usage: status.usage }, drawTiles);
    earnings.show({ by: held.earnings, noMoney: held.noMoney, network: status.network, address: status.address }, drawEarnings);
    machine.show(machineFacts(status, held.limits), drawMachine);
    const newest = latest.jobs?.jobs ?? [];
    jobs.show({ jobs: held.jobs ? joined(newest, held.jobs) : newest.slice(0, JOBS_FEW), receipts: latest.money?.receipts ?? [], isMore: !held.jobs && newest.length > JOBS_FEW }, (found) => drawJobs(found, lookAtJobs));
  };
  const lookAtMoney = often(async () => Object.assign(held, await readEarnings()), draw);
  const lookAtJobs = often(async () => { held.jobs = (await get(`/jobs?limit=${JOBS_MANY}`)).jobs; }, draw);
  const lookAtLimits = often(async () => { held.limits = await get("/limits"); }, draw);
  const stops = [
    on("state", (status) => { draw(); if (status.chain !== held.seenChain) { held.seenChain = status.chain; lookAtMoney(); } if (JSON.stringify(status.limits) !== JSON.stringify(held.seenLimits)) { held.seenLimits = status.limits; lookAtLimits(); } }),
    on("money", lookAtMoney), on("jobs", () => { draw(); if (held.jobs) lookAtJobs(); }), on("engine", ({ points }) => charts.show(points, drawCharts)),
  ];
  lookAtLimits();
  charts.show(latest.engine?.points ?? [], drawCharts);
  const timer = setInterval(lookAtMoney, 20e3);
  return () => { clearInterval(timer); stops.forEach((stop) => stop()); };
}

// The newest as they are now, and behind them what was asked for.
function joined(newest, asked) {
  const known = new Set(newest.map((job) => job.request_id));
  return [...newest, ...asked.filter((job) => !known.has(job.request_id))].slice(0, JOBS_MANY);
}

// Ask at most each five seconds, and once more after the last time that somebody wanted it.
function often(ask, done) {
  let isAsking = false, isWanted = false;
  return async function look() {
    if (isAsking) { isWanted = true; return; }
    isAsking = true;
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // the node is gone: the frame says so
    }
    done();
    setTimeout(() => { isAsking = false; if (isWanted) { isWanted = false; look(); } }, LOOK_AGAIN_MS);
  };
}

async function readEarnings() {
  const status = latest.state;
  if (!status) return {};
  if (status.chain === null) return { earnings: null, noMoney: "no money moves on this machine alone" };
  if (status.chain === "down") return { noMoney: status.money?.why_down ?? "the chain does not answer" };
  try {
    const today = new Date().toISOString().slice(0, 10);
    const periods = PERIODS.map(([, since]) => since === "today" ? today : since || null);
    const found = await money("earnings", { since: "30d", periods });
    return { earnings: Object.fromEntries(PERIODS.map(([, since], n) => [since, found.periods[n]])), noMoney: null };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { earnings: null, noMoney: error.message };
  }
}

// ---- 1 the sentence, and what it rests on

function whyFacts(status) {
  return {
    state: status.state, why: status.why_idle, isAlone: isAlone(status), training: status.state === "serving" ? status.training?.says ?? null : null, suggestion: status.suggestion ?? null,
    paused: status.paused ?? null, running: status.requests?.running ?? 0, idleSince: status.state === "idle" ? idleSince(status) : null, chain: status.chain, whyDown: status.money?.why_down ?? null,
    remedy: ["relayed", "unreachable"].includes(status.reach?.state) ? status.reach.remedy : null, relayed: status.reach?.state === "relayed" ? status.reach.says : null,
  };
}

const sentence = (facts) => facts.state === "serving"
  ? `Serving ${facts.running || 1} ${facts.running > 1 ? "requests" : "request"}`
  : `${(facts.why ?? facts.state)[0].toUpperCase()}${(facts.why ?? facts.state).slice(1)}`.replace(/([^.])$/, "$1.");

function before(facts) {
  if (facts.idleSince) return `Idle since ${time(new Date(facts.idleSince))} UTC`;
  if (facts.paused) return `Paused since ${time(facts.paused.since)} UTC${facts.paused.until ? `, until ${time(facts.paused.until)}` : ""}`;
  return { serving: "Now", training: "Training", draining: "Stopping", starting: "Starting" }[facts.state] ?? facts.state;
}

const fails = (status) => (status.checks ?? []).some((check) => check.ok === false);

function drawWhy(facts) {
  return panel({ class: "why" }, null, null, h("div", { class: "note12" }, before(facts)), h("h2", { class: "sentence" }, coded(sentence(facts))),
    facts.training && h("p", {}, `Also ${facts.training}.`), facts.isAlone && nextSteps(), chainNote(facts), facts.remedy && facts.suggestion?.cli.endsWith(DOCTOR) ? null : drawSuggestion(facts.suggestion), reachNote(facts));
}

const DOCTOR = "doctor --only network";

// What would let more nodes in, or let them in more directly.
const reachNote = ({ remedy, relayed }) => remedy && note("", relayed ? `${relayed[0].toUpperCase()}${relayed.slice(1)}. ${remedy}` : remedy, null, DOCTOR);

const nextSteps = () => [
  h("p", { class: "dim" }, "There is no public network yet, so nobody else sends requests or pays. You can chat, train an adapter, or join a network that you or others run."),
  h("div", { class: "buttons above8" }, h("a", { class: "button", href: "#/chat" }, "Chat"), h("a", { class: "button", href: "#/factory" }, "Train an adapter"), h("a", { class: "button", href: "#/peers" }, "Find a network")),
  cliLine("chat"),
];

const chainNote = (facts) => facts.chain === "halted" || facts.chain === "down"
  ? note("bad", `${facts.chain === "halted" ? "No money moves until you act" : moneyTrouble(facts.whyDown).says}: ${facts.whyDown ?? "no reason was given"}. Answers of this machine go on.`, null, facts.chain === "halted" ? "doctor --only chain" : moneyTrouble(facts.whyDown).words) : null;

function drawSuggestion(suggestion) {
  if (!suggestion) return null;
  const words = suggestion.cli.replace(/^openledger-node /, "");
  const wanted = words.match(/^price set (\S+)$/)?.[1];
  const act = wanted ? button(`Set price to ${wanted}`, () => setPrice(wanted), { kind: "primary" })
    : words === "resume" ? button("Resume", () => order("/resume"), { kind: "primary" }) : null;
  return note("", `${suggestion.says[0].toUpperCase()}${suggestion.says.slice(1)}.`, act, words);
}

async function order(path, body = {}) {
  try {
    await post(path, body);
    poll();
  } catch (error) {
    const dialog = openDialog("It was refused", note("bad", error.message), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
  }
}

// ---- 2 tiles

function drawTiles(facts) {
  const found = facts.earnings, none = !facts.noMoney ? "asking the chain" : facts.isAlone ? "no money moves here" : "the chain does not answer";
  const { day, week } = facts.usage ?? {};
  return strip("tiles",
    tile({ label: "Net earned, 7 days", unit: "OPEN", value: found && amount(found.net_wei), context: found ? `after ${openAmount(found.gas_open_wei)} OPEN of gas` : none }),
    tile({ label: "Not yet claimed", unit: "OPEN", value: found && amount(found.pending_wei), context: found ? "gross, before the others’ parts" : none }),
    tile({ label: "Jobs, 24 h", value: day && count(day.jobs), context: day && unanswered(day) }),
    tile({ label: "Tokens, 24 h", value: day && count(day.tokens_out), context: day && (day.tokens_out ? `${decimal(day.adapter_percent)} % with an adapter` : "none written yet") }),
    tile({ label: "Answered, 7 days", value: week?.ended ? decimal(week.answered_percent) : null, after: "%", context: week?.ended ? `of ${count(week.ended)} that ended` : "no request yet" }));
}

function unanswered({ jobs, failed, interrupted }) {
  const words = [failed && `${count(failed)} failed`, interrupted && `${count(interrupted)} cut off`].filter(Boolean);
  return words.join(" · ") || (jobs ? "none failed" : "no request");
}

// ---- 3 the last hour

function drawCharts(points) {
  const now = Date.now() / 1000, from = now - 3600;
  const line = (name) => points.map((point) => [Date.parse(point.at) / 1000, point[name] ?? null]).filter(([x]) => x >= from);
  const below = ["−60 min", "−30", "now"], xs = [from, now], words = "60 minutes, ";
  const inSeconds = (pairs) => pairs.map(([x, y]) => [x, y === null ? null : y / 1000]);
  const box = strip("charts",
    chart({ title: "Tokens per second", say: (y) => decimal(y, y < 10 ? 1 : 0), series: [{ name: "tokens/s", points: line("tokens_per_s"), area: true }], xs, below, words }),
    chart({ title: "Time to first token, s", say: (y) => decimal(y, y < 0.1 ? 3 : 2), series: [{ name: "p50", points: inSeconds(line("ttft_p50_ms")) }, { name: "p95", points: inSeconds(line("ttft_p95_ms")), dashed: true }], xs, below, words }),
    chart({ title: "Requests running", say: String, series: [{ name: "running", points: line("running"), area: true }], xs, below, words, top: 4 }));
  return [box, h("div", { class: "under" }, button("As table", () => chartTable(points), { kind: "link", changes: false }))];
}

function chartTable(points) {
  const dialog = openDialog("The engine's last hour", h("div", { class: "tall", tabindex: "0", role: "region", "aria-label": "Points" }, table({
    caption: "A point each ten seconds, the newest first", rows: points.toReversed(), key: (row) => row.at,
    columns: [
      { label: "Time", head: true, keep: true, cell: (row) => time(row.at) }, { label: "Tokens/s", num: true, cell: (row) => decimal(row.tokens_per_s) },
      { label: "p50", num: true, cell: (row) => seconds(row.ttft_p50_ms) }, { label: "p95", num: true, cell: (row) => seconds(row.ttft_p95_ms) }, { label: "Running", num: true, cell: (row) => row.running ?? NONE },
    ],
  })), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
}

// ---- 4 earnings

// What no claim holds is everybody's, whenever it was earned; the own part is known once a claim is on the chain.
const ROWS = [
  ["Earned, gross", "before the others’ parts; all there is now", (each) => each.pending_wei], ["Claimed", "yours, on the chain, before or in the draw", (each) => each.total.under_way_wei], ["Final", "yours, credited for good", (each) => each.total.final_wei],
  ["Spent", "answers that you bought", (each) => minus(each.spent_wei)], ["Lost", "your stake that votes have burnt", (each) => minus(each.lost_wei)], ["Gas", "", (each) => minus(each.gas_open_wei)],
];
// What money was paid for, by the line of `earnings`.
const EARNED_FOR = { node: "This node’s part", royalty: "Royalties", datanet_owner: "Datanets, as owner", contributor: "Rows, as contributor", treasury: "Datanet treasury", protocol: "Protocol treasury", other_nodes: "Other nodes" };
const RARE = { Spent: "spent_wei", Lost: "lost_wei" };
const minus = (wei) => (-BigInt(wei)).toString();

function drawEarnings({ by, noMoney, network, address }) {
  if (noMoney && network === "local") {
    return emptyState({ where: "Money · this machine alone", title: "No network, and none needed to chat", text: "This node answers this machine's own requests, and no money moves. On a network, other nodes find it and pay for its answers.", words: "network join network.json" });
  }
  if (noMoney && !by) return emptyState({ where: "Money · not available", tone: "warn", title: "Earnings can't be read now", text: noMoney, words: "earnings" });
  const all = by?.[""], isNone = all && [all.pending_wei, all.total.under_way_wei, all.total.final_wei].every((wei) => wei === "0");
  const rows = ROWS.filter(([label]) => !RARE[label] || (all && all[RARE[label]] !== "0"));
  const periods = (wei) => PERIODS.map(([label, since], n) => ({ label, num: true, rank: n === 2 ? 2 : 1, cell: (row) => amount(by ? wei(row, by[since]) : null) }));
  return panel({ class: "fill earnings" }, "Earnings", "OPEN · the ledger's and the chain's own figures", table({
    caption: "Earnings by how far they have come, in OPEN", rows, key: ([label]) => label,
    columns: [{ label: "", about: "How far", head: true, cell: ([label, about]) => [label, h("small", {}, about || gasWords(all))] }, ...periods(([, , wei], each) => wei(each))],
    sum: [["Net", h("small", {}, "claimed and final, less what went out")], ...PERIODS.map(([, since]) => amount(by ? by[since].net_wei : null))],
  }), all && bySource(by, periods), isNone && h("p", { class: "note12" }, "Nothing earned yet. The first paid answer appears under Earned within a second; your own questions are free and leave no receipt."),
  all && !all.books.holds && note("bad", `The books do not add up at block ${count(all.books.block)}: events of the chain are missing.`, null, "network rescan"), h("span", { class: "fill" }), address && h("p", { class: "note12" }, "Paid to ", id(address)), cliLine("earnings --since 30d --csv"));
}

// Claimed and final together, by what it was paid for: shown as soon as there is more than the node's own part.
function bySource(by, periods) {
  const lines = by[""].lines.filter((line) => line.under_way_wei !== "0" || line.final_wei !== "0").map((each) => each.line);
  const wei = (line, each) => { const found = each.lines.find((other) => other.line === line); return sum(found.under_way_wei, found.final_wei); };
  return lines.some((line) => line !== "node") && table({ caption: "Claimed and final, by what they were paid for, in OPEN", rows: lines, key: (line) => line, columns: [{ label: "Paid for", head: true, cell: (line) => EARNED_FOR[line] }, ...periods(wei)] });
}

// Gas is paid in the chain's own coin, and counts in OPEN only where its owner has said what a coin is worth.
const gasWords = (all) => !all || all.gas_wei === "0" ? "none paid yet" : `${openAmount(all.gas_wei)} coins${all.gas_open_wei === "0" ? ", counted as free" : ""}`;

// ---- 5 the machine

function machineFacts(status, limits) {
  const engine = status.engine ?? {};
  return {
    device: [engine.device, engine.dtype].filter((word) => word && word !== "none").join(", "), memory: memoryOf(status),
    own: { ...limits, ...status.limits }, paused: status.paused ?? null, model: status.base, engine: engineWords(engine),
  };
}

function engineWords(engine) {
  if (engine.why_failed) return engine.why_failed;
  return engine.state === "unloaded" ? `unloaded; the next request loads it in about ${Math.round(engine.load_s)} s` : null;
}

function drawMachine({ device, memory, own, paused, model, engine }) {
  const parts = memory.parts.map((each) => ({ ...each, text: bytes(each.value) }));
  if (memory.cap > memory.used) parts.push({ label: "Free", value: memory.cap - memory.used, text: bytes(memory.cap - memory.used), shade: -1 });
  const line = cliLine("limits show");
  return panel({ class: "fill" }, "Your machine comes first", device || "no engine", memory.used > 0 && meter(parts, "Memory"),
    h("div", { class: "above" }, facts([
      ["Base", model], ["Engine", engine], [memory.isGpu ? "VRAM cap" : "Memory cap", memory.cap ? bytes(memory.cap) : "none set"],
      ["Disk", own.used ? `${bytes(own.used.disk_bytes)}${own.disk_bytes ? ` of ${bytes(own.disk_bytes)}` : ", no cap"}` : NONE],
      ["Works", own.hours ? `${own.hours}, by this machine’s clock` : "at any hour"], ["Pauses", own.pause_when_busy ? "when another program uses the GPU" : "only when you say so"],
      ["Paused", paused && `${paused.why}${paused.until ? `, until ${time(paused.until)}` : ""}`],
    ])),
    h("span", { class: "fill" }),
    h("div", { class: "buttons" }, says(button("Change limits", () => limitsDialog(own, memory.isGpu)), line, "limits set"),
      paused ? says(button("Resume", () => order("/resume")), line, "resume") : says(button("Pause for 1 h", () => order("/pause", { for_s: 3600 })), line, "pause --for 1h"),
      says(button("Test alerts", testAlerts), line, "alerts test")),
    line);
}

async function testAlerts() {
  const found = h("div", { role: "status" }, "Sending a test alert to each receiver…");
  const dialog = openDialog("Test alerts", found, cliLine("alerts test"), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
  try {
    const { receivers } = await post("/alerts/test", {});
    put(found, ...receivers.map(({ name, host, error }) => note(error ? "bad" : "", error ? `${name}: ${error}` : `${name}: ${host} took it`)));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    put(found, note("bad", error.message));
  }
}

// ---- 6 jobs

const STATES = { running: ["running", "accent"], completed: ["answered", ""], failed: ["failed", "bad"], interrupted: ["cut off", "warn"] };

const isOwn = (job) => job.payer !== null && job.payer === latest.state?.address;

function stateChip(job, receipt) {
  if (isOwn(job)) return chip("bought", "");
  if (job.receipt && receipt) return receipt.is_countersigned ? chip("countersigned", "ok") : chip("signed by you alone", "warn");
  if (job.receipt) return chip("paid", "ok");
  if (job.finish_reason === "cancelled") return chip("client left", "warn");
  const [word, tone] = STATES[job.state] ?? [job.state, ""];
  return h("span", {}, chip(word, tone), job.error_code && h("small", {}, job.error_code));
}

function drawJobs({ jobs, receipts, isMore }, showMore) {
  const paid = new Map(receipts.map((receipt) => [receipt.request_id, receipt]));
  const more = isMore && button("Show 50", showMore, { kind: "link", changes: false });
  return panel({}, "Last jobs", more, jobs.length === 0 ? h("p", { class: "dim" }, "No request has been answered yet. ", h("a", { href: "#/chat" }, "Ask the first one in Chat"), ". Prompts are never shown or kept.") : table({
    caption: "The newest requests; their texts are never kept", rows: jobs, key: (row) => row.request_id,
    columns: [
      { label: "Time", head: true, keep: true, cell: (row) => time(row.received) },
      { label: "Adapter", cell: (row) => row.adapter ?? h("span", {}, row.base, h("span", { class: "dim" }, " base")) },
      { label: "In", num: true, rank: 2, cell: (row) => count(row.tokens_in) }, { label: "Out", num: true, rank: 2, cell: (row) => count(row.tokens_out) },
      { label: "First token", num: true, rank: 2, cell: (row) => seconds(row.ttft_ms) },
      { label: "Paid, OPEN", num: true, cell: (row) => row.amount_wei ? [amount(row.amount_wei), isOwn(row) && h("small", {}, "you paid")] : h("span", { class: "dim" }, "free") },
      { label: "State", cell: (row) => stateChip(row, paid.get(row.request_id)) },
      { label: "Receipt", keep: true, rank: 2, cell: (row) => row.receipt ? h("a", { href: `#/money?receipt=${row.receipt}` }, id(row.receipt)) : NONE },
    ],
  }), cliLine(jobs.length ? "jobs --limit 50" : "chat"));
}
