// One proposal: what it changes, its votes, and what may be done; and the list of proposals.
import { cliLine, quoted, says } from "./cli.js";
import { act, openDialog } from "./dialog.js";
import { h, put } from "./dom.js";
import { count, decimal, id, open as openAmount, span, sum, time } from "./format.js";
import { button, chip, meter, note, panel, progress } from "./parts.js";
import { table } from "./table.js";
import { boundsOf } from "./votes.js";

const SHORT = 400; // characters of a description that are shown at once
const SUPPORTS = [["for", "Vote for"], ["against", "Against"], ["abstain", "Abstain"]];

export const isWaiting = (each) => each.state === "active" && !each.own.support && BigInt(each.own.weight_wei) > 0n;

// Votes to read: many need no fractions.
export const votesText = (wei) => openAmount(wei, BigInt(wei) < 10n ** 22n ? 3 : 0);

// ---- states in words

export function whenOf(found, now) {
  const left = (at) => `${span(at - now)}, ${time(at)} UTC`;
  switch (found.state) {
    case "pending": return `voting begins in ${left(found.votes_from_s)}`;
    case "active": return `voting ends in ${left(found.votes_until_s)}${found.is_extended ? ", extended by a late quorum" : ""}`;
    case "succeeded": return "carried; anybody can queue it";
    case "queued": return found.execute_from_s > now ? `can be executed in ${left(found.execute_from_s)}` : "can be executed now, by anybody";
    case "executed": return found.active_epoch ? `executed, active from epoch ${count(found.active_epoch)}` : "executed";
    case "defeated": return `not carried: ${whyDefeated(found)}`;
    case "canceled": return "taken back by its proposer";
    default: return found.state;
  }
}

const whyDefeated = (found) => found.quorum_wei !== null && BigInt(sum(found.for_wei, found.abstain_wei)) < BigInt(found.quorum_wei) ? "no quorum" : found.slashes.length ? "less than two thirds for" : "not more for than against";

// [word, tone] of the chip in the list.
export function stateText(found, now) {
  switch (found.state) {
    case "pending": return [`begins in ${span(found.votes_from_s - now)}`, ""];
    case "active": return [`vote, ${span(found.votes_until_s - now)}`, "accent"];
    case "succeeded": return ["carried, to be queued", "warn"];
    case "queued": return found.execute_from_s > now ? [`queued, ${span(found.execute_from_s - now)}`, "warn"] : ["to be executed", "warn"];
    case "executed": return ["executed", "ok"];
    case "defeated": return [whyDefeated(found) === "no quorum" ? "no quorum" : "not carried", ""];
    default: return [found.state, ""];
  }
}

const titleOf = (each) => each.values.length ? each.values.map((value) => `${value.key} ${value.was_text} → ${value.would_text}`).join("; ") : each.title;

// ---- the proposal that is shown

// drawProposal({shown, isReady, isDelegated, isWhole}, when, {again(), toggle()}); `when` ticks by itself.
export function drawProposal({ shown, isReady, isDelegated, isWhole }, when, { again, toggle }) {
  const line = cliLine(shown.next ?? `gov show ${shown.number}`);
  return panel({ "aria-label": "Proposal" }, null, null, h("header", {}, h("h2", {}, `Proposal ${shown.number}: ${titleOf(shown)}`), h("span", { class: "note12" }, "by ", id(shown.proposer), " · ", when)),
    h("div", { class: "two" },
      h("div", {}, drawText(shown, isWhole, toggle), drawChanges(shown), drawCalls(shown), shown.slashes.map(drawSlash)),
      h("div", { class: "ballot" }, drawTally(shown), drawActions({ shown, isReady, isDelegated }, line, again), line)),
    drawVoters(shown));
}

// What its proposer says, without the time that makes it unlike others; what says no more than the title is left out.
function drawText(shown, isWhole, toggle) {
  const text = shown.description.replace(/\s*\d{4}-\d\d-\d\dT[\d:]+Z\s*$/, "").trim(), isLong = text.length > SHORT;
  if (!text || text === shown.title) return null;
  return [h("p", { class: "told" }, isLong && !isWhole ? `${text.slice(0, SHORT)}…` : text, shown.is_description_cut && isWhole && " (its text goes on)"),
    isLong && button(isWhole ? "Show less" : "Show all", toggle, { kind: "link", changes: false })];
}

const drawChanges = (shown) => shown.values.length > 0 && table({
  caption: "What would change", rows: shown.values, key: (each) => each.key,
  columns: [
    { label: "Parameter", head: true, cell: (each) => each.key }, { label: shown.state === "executed" ? "Before" : "Now", num: true, cell: (each) => each.was_text },
    { label: shown.active_epoch ? `From epoch ${count(shown.active_epoch)}` : "Proposed", num: true, cell: (each) => h("b", {}, each.would_text) }, { label: "Bounds", num: true, rank: 2, cell: boundsOf },
  ],
});

// Calls that are more than values; one that this node can't read is shown raw.
function drawCalls(shown) {
  const others = shown.actions.filter((each) => !each.changes.length), more = shown.num_calls - shown.actions.length;
  return [
    others.length > 0 && h("ul", { class: "calls" }, others.map((each) => h("li", {}, each.text, !each.is_known && h("small", {}, "to ", id(each.target), " ", h("code", {}, each.data.slice(0, 138)))))),
    more > 0 && h("p", {}, `and ${count(more)} more calls, which are not shown`),
    !shown.is_understood && note("warn", "This node can’t say in words what all of these calls do. Vote against a proposal that you don’t understand."),
  ];
}

const drawSlash = (slash) => note("warn", `Burns up to ${openAmount(slash.amount_wei, 18).replace(/\.?0+$/, "")} OPEN of the stake of \`${slash.node}\`; two thirds of all votes cast must be for it. Evidence: the file whose keccak256 is \`${slash.evidence}\`.`);

// ---- votes

const share = (wei, whole) => BigInt(whole) > 0n ? Number((BigInt(wei) * 10n ** 6n) / BigInt(whole)) / 1e4 : 0; // percent

function drawTally(shown) {
  const cast = sum(shown.for_wei, shown.against_wei, shown.abstain_wei), reached = sum(shown.for_wei, shown.abstain_wei), quorum = shown.quorum_wei;
  const one = (label, wei, tone) => ({ label, value: share(wei, cast), text: `${decimal(share(wei, cast))} %`, shade: tone });
  const ofQuorum = quorum === null ? 0 : Math.floor(10 * share(reached, quorum)) / 10; // never 100 % before it is
  return [
    h("div", { class: "between" }, h("b", {}, "Votes"), h("span", { class: "note12" }, cast === "0" ? "none yet" : `${openAmount(cast, 0)} OPEN`)),
    meter([one("For", shown.for_wei, 0), one("Against", shown.against_wei, -2), one("Abstain", shown.abstain_wei, 3)], "Votes"),
    h("div", { class: "between above" }, h("span", {}, "Quorum ", h("b", {}, openAmount(reached, 0)), quorum === null ? "" : ` of ${openAmount(quorum, 0)}`), h("span", { class: "note12" }, quorum === null ? "fixed when voting begins" : `for + abstain, ${decimal(ofQuorum, ofQuorum < 100 ? 1 : 0)} %`)),
    progress(ofQuorum / 100, "Quorum"),
  ];
}

function drawActions({ shown, isReady, isDelegated }, line, again) {
  const { number, own, state } = shown;
  const does = (label, verb, sentence, kind = "primary") => says(button(`${label}…`, () => act({ title: `${label} proposal ${number}`, sentence, verb, args: { proposal: String(number) }, words: `${verb} ${number}`, does: label, done: again }), { kind, key: verb }), line, `${verb} ${number}`);
  if (state === "active") return own.support ? h("p", { class: "voted" }, "You voted ", chip(own.support, "accent"), ` with ${votesText(own.weight_wei)} OPEN. A vote can’t be changed.`) : drawVote(shown, isDelegated, line, again);
  if (state === "succeeded") return h("div", { class: "buttons above" }, does("Queue", "gov queue", "Begins the wait before the proposal takes effect. Anybody may do it; nothing changes yet."));
  if (state === "queued" && isReady) return h("div", { class: "buttons above" }, does("Execute", "gov execute", "Carries the proposal out. Anybody may do it."));
  if (state === "pending" && shown.proposer === own.account) return h("div", { class: "buttons above" }, does("Cancel", "gov cancel", "Takes your own proposal back before its voting begins.", ""));
  return own.support ? h("p", { class: "voted" }, "You voted ", chip(own.support), ".") : null;
}

function drawVote(shown, isDelegated, line, again) {
  const { number, own } = shown, weight = votesText(own.weight_wei), hasNone = BigInt(own.weight_wei) === 0n;
  const buttons = SUPPORTS.map(([support, label], n) => says(button(`${label}…`, () => act({
    title: support === "abstain" ? `Abstain on proposal ${number}` : `Vote ${support} proposal ${number}`, sentence: `Casts your ${weight} OPEN of votes. It can’t be changed afterwards, and everybody can see it.`,
    verb: "gov vote", args: { proposal: String(number), support, reason: null }, words: `gov vote ${number} ${support}`, does: support === "abstain" ? "Abstain" : `Vote ${support}`, done: again,
  }), { kind: n === 0 && !hasNone ? "primary" : "", key: `vote ${support}`, disabled: hasNone }), line, `gov vote ${number} ${support}`));
  return [h("div", { class: "buttons above" }, buttons),
    h("p", { class: "note12" }, !hasNone ? `${weight} OPEN, those that you had when voting began · can’t be changed afterwards`
      : isDelegated ? "You had no votes when voting began, so yours would count nothing here." : "Your OPEN was delegated to nobody when voting began, so it counts nothing here. Delegate it below for later votes.")];
}

const drawVoters = (shown) => shown.num_voters > 0 && h("details", { class: "advanced" }, h("summary", { dataset: { key: "voters" } }, `${count(shown.num_voters)} ${shown.num_voters === 1 ? "account has" : "accounts have"} voted`), table({
  caption: "Voters, those with most votes first", rows: shown.voters, key: (each) => each.voter,
  columns: [{ label: "Voter", head: true, cell: (each) => id(each.voter) }, { label: "Vote", cell: (each) => each.support }, { label: "OPEN", num: true, cell: (each) => votesText(each.weight_wei) }, { label: "Reason", rank: 2, cell: (each) => each.reason || "–" }],
}));

// ---- the list

// drawProposals({rows, total, chosen}, pick(number), {values, votes, again})
export function drawProposals({ rows, total, chosen }, pick, { values, votes, again }) {
  const line = cliLine("gov list --all");
  const make = says(button("Propose…", () => propose(values, votes, again), { kind: "small", key: "propose" }), line, "gov propose dataPpm=22%");
  return panel({ "aria-label": "Proposals" }, null, null, h("header", {}, h("h2", {}, "Proposals"), make), rows.length ? table({
    caption: "Proposals, the newest first", rows, key: (each) => String(each.number), open: (each) => pick(each.number), chosen: chosen === null ? undefined : String(chosen),
    columns: [{ label: "No.", head: true, num: true, tight: true, cell: (each) => count(each.number) }, { label: "Proposal", cell: titleOf }, { label: "State", cell: (each) => chip(...each.state) }],
  }) : h("p", { class: "dim" }, "No proposal yet. An account with enough votes can make the first."), total > rows.length && h("p", { class: "note12" }, `the newest ${rows.length} of ${count(total)}`), h("span", { class: "fill" }), line);
}

function propose(values, votes, again) {
  const chosen = h("select", { id: "propose-key", onchange: show }, values.map((each) => h("option", { value: each.key }, `${each.key}: ${each.text}`)));
  const wanted = h("input", { id: "propose-value", autocomplete: "off", oninput: show }), why = h("textarea", { id: "propose-reason", rows: 3, oninput: show }), about = h("p", { class: "note12" }), line = cliLine("gov propose"), alert = h("div", { role: "alert" });
  const field = (label, control) => h("div", { class: "field" }, h("label", { for: control.id }, label), control);
  const dialog = openDialog("Propose another value", h("p", {}, `Proposing takes ${openAmount(votes.threshold_wei, 0)} OPEN of votes. Voting begins after ${span(votes.delay_s)} and lasts ${span(votes.period_s)}; what is carried waits ${span(votes.timelock_s)} more.`),
    field("Parameter, and its value now", chosen), field("New value, such as 22%, 150 or 0.5", wanted), about, field("Why, for those who vote", why), alert, line,
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), button("Continue", go, { kind: "primary", changes: false })));
  const words = () => `gov propose ${chosen.value}=${quoted(wanted.value.trim() || "VALUE")}${why.value.trim() ? ` --reason ${quoted(why.value.trim())}` : ""}`;
  function show() {
    const spec = values.find((each) => each.key === chosen.value);
    put(about, `${spec.meaning}. From ${spec.bounds}${spec.step ? `, this time from ${spec.step}` : ""}; no vote can go beyond that.`);
    line.change(words());
  }
  function go() {
    if (!wanted.value.trim()) return put(alert, note("bad", "Give the new value."));
    const given = { values: { [chosen.value]: wanted.value.trim() }, spend_wei: null, to: null, reason: why.value.trim() || null, is_anyway: false }, said = words();
    dialog.close();
    act({ title: `Propose ${chosen.value} = ${wanted.value.trim()}`, sentence: "Puts this to the vote of all who hold OPEN.", verb: "gov propose", args: given, words: said, does: "Propose", done: again });
  }
  show();
  wanted.focus();
}
