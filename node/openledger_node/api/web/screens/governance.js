// Governance: the values that every node follows, the proposals that would change them, and who votes.
import { money, Refused } from "../lib/api.js";
import { h, part } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { moneyTrouble } from "../lib/facts.js";
import { count, open as openAmount, span, time } from "../lib/format.js";
import { emptyState, heading, note, strip, tile } from "../lib/parts.js";
import { setParams } from "../lib/route.js";
import { drawProposal, drawProposals, isWaiting, stateText, votesText, whenOf } from "../lib/proposal.js";
import { drawGuardian, drawPower, drawValues, stopText } from "../lib/votes.js";

export const title = "Governance";

const LOOK_MS = 3000, LISTED = 8;
const LONG_EPOCH_S = 600, REST_MS = 15e3; // where epochs are long, nothing here moves within seconds, and an endpoint may cost money

export function mount(root, params) {
  const held = { picked: params.proposal ?? null, number: null, found: null, why: null, missing: null, all: null, mark: null, shown: null, to: "", isWhole: false, isMore: false };
  const none = part(), tiles = part(), proposal = part(), when = part({}, "span"), values = part({ class: "w7" }), list = part(), power = part(), guardian = part(), stopped = part({}, "span");
  root.append(heading("Governance", "The numbers that every node follows, and who may change them.", "gov params"),
    h("div", { class: "grid" }, none, tiles, proposal, values, h("div", { class: "w5 stack" }, list, power, guardian)));

  async function look() {
    const status = latest.state;
    if (!status || document.hidden) return;
    if (status.chain === "ok") {
      try {
        const [rules, votes, open] = await Promise.all(["gov_params", "gov_votes", "gov_list"].map((question) => money(question)));
        const all = await listAll(open), number = choose(all.proposals);
        Object.assign(held, { found: { rules, votes, open, all, now: rules.chain_time_s }, why: null });
        await lookAt(number);
      } catch (error) {
        if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // gone: the frame says so
        if (error instanceof Refused) held.why = error.message;
      }
    }
    draw();
  }

  // Those that are over do not change, so the chain is asked for them only when one more is.
  async function listAll(open) {
    const mark = JSON.stringify([open.num_proposals, open.proposals.map((each) => each.number)]);
    if (mark !== held.mark) Object.assign(held, { all: await money("gov_list", { all: true, limit: LISTED }), mark });
    const fresh = new Map(open.proposals.map((each) => [each.number, each]));
    return { ...held.all, proposals: held.all.proposals.map((each) => fresh.get(each.number) ?? each) };
  }

  // The one that was picked, else the one that is shown while it is open, else the one that waits for the person.
  function choose(all) {
    if (held.picked) return held.picked;
    const shown = all.find((each) => each.number === held.number);
    if (shown && (shown.is_open || !all.some(isWaiting))) return shown.number;
    return (all.filter(isWaiting).at(-1) ?? all.find((each) => each.is_open) ?? all[0])?.number ?? null;
  }

  async function lookAt(number) {
    held.number = number;
    try {
      held.shown = number ? await money("gov_show", { proposal: String(number) }) : null;
    } catch (error) {
      if (!(error instanceof Refused) || !held.picked) throw error;
      Object.assign(held, { picked: null, shown: null, missing: error.message });
    }
  }

  function draw() {
    const status = latest.state, { found, shown } = held;
    none.show({ chain: status.chain, network: status.network, why: held.why ?? status.money?.why_down ?? null, has: Boolean(found), missing: held.missing }, whyNone);
    if (!found) return;
    const { rules, votes, open, all, now } = found;
    tiles.show({ rules: { epoch: rules.epoch, ends: rules.epoch_ends_s, length: lengthOf(rules) }, votes, open: open.proposals.map((each) => [each.number, each.state, isWaiting(each)]) }, drawTiles);
    when.show(shown && whenOf(shown, now), (text) => text);
    proposal.show(shown && { shown, isReady: shown.execute_from_s !== null && shown.execute_from_s <= now, isDelegated: Boolean(votes.delegate), isWhole: held.isWhole },
      (given) => given ? drawProposal(given, when, { again, toggle }) : null);
    values.show({ values: rules.values, fixed: rules.fixed, isMore: held.isMore }, (given) => drawValues(given, () => { held.isMore = !held.isMore; draw(); }));
    list.show({ rows: all.proposals.map((each) => ({ number: each.number, title: each.title, values: each.values, state: stateText(each, now) })), total: all.num_proposals, chosen: held.shown?.number ?? null },
      (given) => drawProposals(given, pick, { values: rules.values, voting: votes, votes, again }));
    power.show({ ...votes, quorum_wei: null, supply_wei: null }, (given) => drawPower(given, held, again));
    stopped.show(stopText(rules.guardian, now), (text) => text);
    guardian.show({ ...rules.guardian, isNow: Boolean(rules.guardian.stopped_until_s) }, (given) => drawGuardian(given, stopped));
  }

  const pick = (number) => { Object.assign(held, { picked: number, isWhole: false, missing: null }); setParams({ proposal: number }); look(); };
  const toggle = () => { held.isWhole = !held.isWhole; draw(); };
  const again = () => { held.mark = null; return look(); };

  let isLooking = false, lookedAt = 0;
  const soon = async () => {
    if (isLooking || (held.found && lengthOf(held.found.rules) > LONG_EPOCH_S && Date.now() - lookedAt < REST_MS)) return;
    isLooking = true;
    await look().finally(() => { isLooking = false; lookedAt = Date.now(); });
  };
  let was = null;
  const stop = on("state", (status) => { if (status.chain !== was) { was = status.chain; lookedAt = 0; soon(); } }), timer = setInterval(soon, LOOK_MS);
  const unmount = () => { clearInterval(timer); stop(); };
  unmount.changed = (given) => { if (given.proposal && given.proposal !== String(held.picked)) pick(given.proposal); };
  return unmount;
}

const lengthOf = (rules) => rules.fixed.find((each) => each.name === "epoch_s").seconds;

function whyNone({ chain, network, why, has, missing }) {
  if (network === "local" || chain === null) return emptyState({ where: "Governance · this machine alone", title: "No network, so nothing to vote on", text: "Votes set the numbers of a network: fees, stakes, the attribution rule. This node is on none; chat, adapters and the factory work by your own settings.", words: "network join network.json" });
  if (chain === "down" || chain === "halted" || why) return note("bad", `${moneyTrouble(why).says}: ${why ?? "no reason was given"}. Votes that you have cast stand${has ? "; the figures below are the last known ones" : ""}.`, null, moneyTrouble(why).words);
  return missing && note("warn", `${missing}.`, null, "gov list --all");
}

function drawTiles({ rules, votes, open }) {
  const numWaiting = open.filter(([, , waits]) => waits).length, quorumPercent = BigInt(votes.supply_wei) > 0n ? Number((BigInt(votes.quorum_wei) * 1000n) / BigInt(votes.supply_wei)) / 10 : 0;
  return strip("tiles",
    tile({ label: "Your votes", unit: "OPEN", value: h("span", { class: "amount", title: `${votes.votes_wei} wei` }, votesText(votes.votes_wei)), context: `${heldText(votes)} · staked OPEN has no vote` }),
    tile({ label: "Open proposals", value: count(open.length), context: numWaiting ? `${numWaiting} ${numWaiting === 1 ? "waits" : "wait"} for your vote` : open.length ? "none waits for your vote" : "nothing to vote on now" }),
    tile({ label: "Epoch", value: count(rules.epoch), context: `${span(rules.length)} each · next at ${time(rules.ends)} UTC` }),
    tile({ label: "Quorum", unit: "OPEN", value: openAmount(votes.quorum_wei, 0), context: `for + abstain, ${quorumPercent} % of all votes now` }));
}

function heldText(votes) {
  const others = BigInt(votes.votes_wei) - BigInt(votes.held_wei);
  if (votes.delegate === votes.account) return others > 0n ? `held, and ${votesText(others)} delegated to you by others` : "held, delegated to yourself";
  const held = votesText(votes.held_wei);
  return votes.delegate ? `your ${held} are delegated to another` : `your ${held} are not delegated, so they count nothing yet`;
}
