// Money: what there is, the way of one receipt, and what may be done: stake, channels, claims, withdrawals.
import { money, Refused } from "../lib/api.js";
import { cliLine, quoted, says } from "../lib/cli.js";
import { reclaimBond, retireBond } from "../lib/bonds.js";
import { act, openDialog } from "../lib/dialog.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { moneyTrouble } from "../lib/facts.js";
import { amount, count, id, NONE, open as openAmount, short, span, sum, time } from "../lib/format.js";
import { button, chip, emptyState, facts, heading, note, panel, strip, tile } from "../lib/parts.js";
import { weiOf } from "../lib/price.js";
import { setParams } from "../lib/route.js";
import { table } from "../lib/table.js";
import { toast } from "../lib/toast.js";
import { drawWay } from "../lib/way.js";

export const title = "Money";

// The books read every event and ask a dozen views of the contracts, so they are asked for less often.
const LOOK_MS = 3000, BOOKS_MS = 15000, SENT_SHOWN = 12;
const TONES = { final: "ok", mined: "ok", sent: "accent", signed: "accent", reserved: "accent", intended: "", reverted: "bad", failed: "bad", refused: "bad" };
const STATES = { intended: "waits to be sent", reserved: "waits to be sent", signed: "stored, not yet sent", sent: "sent, waits for block", mined: "mined, not final", reverted: "reverted", failed: "failed", refused: "refused before it was sent" };

export function mount(root, params) {
  const held = { receipt: params.receipt ?? null, asPaid: false, found: null, way: null, wayError: null, why: null, isMore: false, stake: "100", booksUntil: 0, isStale: false };
  const none = part(), alerts = part(), tiles = part(), way = part(), claims = part({ class: "w6" }), stake = part({ class: "w6" }), channels = part(), books = part(), sent = part(), leaving = part({}, "div");
  root.append(heading("Money", "What you earned, what is on its way, and what is staked.", "rewards show"), h("div", { class: "grid" }, none, alerts, tiles, way, claims, stake, channels, books, sent));

  async function look() {
    const status = latest.state;
    if (!status) return;
    if (status.chain === "ok") {
      try {
        const isFresh = held.found && !held.isStale && Date.now() < held.booksUntil, asked = ["stake", "rewards", "channels", "network", "outbox", "receipts"].map((question) => money(question, { limit: question === "receipts" ? 20 : 50 }));
        if (!isFresh) held.isStale = false; // an action may want newer ones before the answer comes
        const [stakes, rewards, lines, network, outbox, receipts, earned] = await Promise.all([...asked, isFresh ? held.found.earned : money("earnings", {})]);
        if (!isFresh) held.booksUntil = Date.now() + BOOKS_MS;
        Object.assign(held, { found: { stake: stakes, rewards, channels: lines, network, sent: outbox.transactions, receipts: receipts.receipts, earned }, why: null });
        await lookAtWay(held.receipt ?? receipts.receipts[0]?.digest);
      } catch (error) {
        held.isStale = true;
        if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // gone: the frame says so
        if (error instanceof Refused) held.why = error.message;
      }
    }
    draw();
  }

  async function lookAtWay(digest) {
    if (!digest) return;
    try {
      Object.assign(held, { way: await money("follow", { receipt: digest }), wayError: null });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      Object.assign(held, { way: null, wayError: error.message });
    }
  }

  function draw() {
    const status = latest.state, { found } = held;
    none.show({ chain: status.chain, network: status.network, why: held.why ?? status.money?.why_down ?? null, has: Boolean(found) }, whyNone);
    alerts.show(status.money?.alerts ?? [], drawAlerts);
    if (!found) return;
    const now = found.network.chain_time_s;
    tiles.show({ stake: found.stake, rewards: found.rewards, channels: found.channels }, drawTiles);
    way.show({ found: held.way && ticking(held.way, now), error: held.wayError, receipts: found.receipts.map((each) => ({ digest: each.digest })), asPaid: held.asPaid }, (given) => given.found ? drawWay(given, { pick, toggle }) : noWay(given.error));
    claims.show({ rewards: found.rewards, now: found.rewards.claims.some((each) => each.state === "proposed") ? now : 0 }, (given) => drawClaims(given, found, again));
    leaving.show(found.stake.unbonding.map((each) => [each.amount_wei, each.ready_at_s <= now ? "free" : `free in ${span(each.ready_at_s - now)}`]), drawLeaving);
    stake.show(stakeFacts(found.stake, now), (given) => drawStake(given, held, leaving, again));
    channels.show({ channels: found.channels.channels, now: found.channels.channels.some((each) => each.ready_at_s) ? now : 0 }, (given) => drawChannels(given, again));
    books.show({ books: { ...found.earned.books, block: null }, bonds: found.earned.adapter_bonds, now: found.earned.adapter_bonds.some((each) => each.state === "retired") ? now : 0 }, (given) => drawBooks(given, again));
    sent.show({ sent: found.sent.slice(0, held.isMore ? 50 : SENT_SHOWN), isMore: !held.isMore && found.sent.length > SENT_SHOWN }, (given) => drawSent(given, () => { held.isMore = true; draw(); }));
  }

  // The way stands still while nothing but the clock has moved.
  const ticking = (found) => found.steps.some((step) => step.step === "draw" && step.state === "now") ? found : { ...found, chain_time_s: 0 };
  const pick = (digest) => { held.receipt = digest; setParams({ receipt: digest }); look(); };
  const toggle = () => { held.asPaid = !held.asPaid; draw(); };
  const again = () => { held.isStale = true; return look(); };

  let isLooking = false, isWanted = false;
  const soon = async () => {
    if (isLooking) { isWanted = true; return; }
    isLooking = true;
    await look().finally(() => setTimeout(() => { isLooking = false; if (isWanted) { isWanted = false; soon(); } }, LOOK_MS / 2));
  };
  let was = null;
  const stops = [on("state", (status) => { if (status.chain !== was) { was = status.chain; soon(); } }), on("money", soon)], timer = setInterval(soon, LOOK_MS);
  const unmount = () => { clearInterval(timer); stops.forEach((stop) => stop()); };
  unmount.changed = (given) => { if (given.receipt && given.receipt !== held.receipt) pick(given.receipt); };
  return unmount;
}

// ---- what there is not

function whyNone({ chain, network, why, has }) {
  if (network === "local" || chain === null) return emptyState({ where: "Money · this machine alone", title: "No money moves on this machine alone", text: "This node is on no network, so it neither earns nor pays. Chat, adapters and the factory still work.", words: "network join network.json" });
  if (chain === "halted") return note("bad", `No money moves until you act: ${why ?? "the chain took back more than an honest one does"}. Claims and withdrawals wait; answers on this machine continue.`, null, "network rescan");
  if (chain === "down" || why) {
    const { says, words } = moneyTrouble(why);
    return note("bad", `${says}: ${why ?? "no reason was given"}. Pending transactions are kept and sent afterwards${has ? "; the figures below are the last known ones" : ". Answers on this machine continue"}.`, null, words);
  }
  return null;
}

const drawAlerts = (alerts) => alerts.length ? alerts.map((each) => note("bad", `${each}.`)) : null;

const noWay = (error) => error ? emptyState({ where: "Money · receipt", tone: "warn", title: "This receipt can’t be shown", text: error, words: "attribution show" })
  : emptyState({ where: "Money · no receipt yet", title: "No paid answer yet", text: "The first paid answer creates a receipt. This screen then shows its path from the payer’s deposit to the withdrawals. On a development network, the guest can pay for an answer.", buttons: [h("a", { class: "button", href: "#/chat", dataset: { key: "ask something" } }, "Ask something")], words: "chat hello --as-guest" });

function drawTiles({ stake, rewards, channels }) {
  const needs = BigInt(stake.bonded_wei) < BigInt(stake.min_stake_wei);
  return strip("tiles",
    tile({ label: "Wallet", unit: "OPEN", value: amount(stake.wallet_open_wei), context: [id(stake.node), ` · ${openAmount(stake.wallet_coin_wei, 4)} coins for gas`] }),
    tile({ label: "Ready to withdraw", unit: "OPEN", value: amount(rewards.balance_wei), context: rewards.num_unclaimed ? `${openAmount(rewards.unclaimed_wei)} earned in ${count(rewards.num_unclaimed)} receipts` : "nothing to claim" }),
    tile({ label: "Staked", unit: "OPEN", value: amount(stake.bonded_wei), context: needs ? `${openAmount(stake.min_stake_wei, 0)} needed to claim` : "enough to claim" }),
    tile({ label: "In channels", unit: "OPEN", value: amount(channels.left_as_payer_wei), context: `left as payer, ${channels.num_as_payer} ${channels.num_as_payer === 1 ? "channel" : "channels"}` }),
    tile({ label: "Gas today", unit: "coins", value: amount(rewards.gas_today_wei), context: `of ${openAmount(rewards.gas_budget_wei)} budget` }));
}

// ---- claims

function claimState(each, now) {
  if (each.state === "final") return chip("final", "ok");
  if (each.state === "proposed") return each.ready_at_s > now ? chip(`claimed, in review ${span(each.ready_at_s - now)}`, "warn") : chip("claimed, draw is due", "ok");
  return chip({ sent: "claim sent, waits for block", claimed: "claimed, list is due", drawn: "claimed, draw to be shown", refused: "refused" }[each.state] ?? each.state, each.state === "refused" ? "bad" : "accent");
}

function drawClaims({ rewards, now }, found, again) {
  const line = cliLine("rewards withdraw"), balance = rewards.balance_wei, canTake = BigInt(balance) > 0n;
  const take = button(`Withdraw ${openAmount(balance)}…`, () => act({
    title: `Withdraw ${openAmount(balance)} OPEN`, sentence: `Takes what is credited out of the rewards contract, and pays it to ${short(rewards.payout)}.`,
    verb: "rewards withdraw", args: {}, words: "rewards withdraw", does: "Withdraw", wei: balance, next: "The OPEN are there. New claims add to what you can withdraw after their review period.", done: again,
  }), { kind: canTake ? "primary" : "", key: "withdraw", disabled: !canTake });
  const claim = button(rewards.num_unclaimed ? `Claim ${openAmount(rewards.unclaimed_wei)}…` : "Claim what is due…", () => claimNow(rewards, again), { key: "claim" });
  return panel({ class: "fill" }, "Claims", rewards.payout && ["paid to ", id(rewards.payout)], rewards.claims.length ? table({
    caption: "Claims, the newest first", rows: rewards.claims.slice(0, 6), key: (each) => String(each.seq),
    columns: [
      { label: "Epoch", head: true, cell: (each) => count(each.epoch) }, { label: "Receipts", num: true, rank: 2, cell: (each) => count(each.num_receipts) },
      { label: "Gross, OPEN", num: true, rank: 2, cell: (each) => amount(each.gross_wei) }, { label: "Yours, OPEN", num: true, cell: (each) => amount(each.node_share_wei) }, { label: "State", cell: (each) => claimState(each, now) },
    ],
  }) : h("p", { class: "dim" }, "No claim yet: receipts are brought to the chain by themselves."),
  rewards.why_not_claimed && note("warn", `Nothing is claimed: ${rewards.why_not_claimed}.`), h("span", { class: "fill" }),
  h("div", { class: "buttons" }, says(take, line, "rewards withdraw"), says(claim, line, "rewards claim")), line);
}

function claimNow(rewards, again) {
  const why = h("div", { role: "alert" });
  const go = button("Claim", async () => {
    go.disabled = true;
    try {
      await money("claim");
      dialog.close();
      toast("The claim is on its way");
    } catch (error) {
      put(why, note("bad", error.message));
    }
    again();
  }, { kind: "primary" });
  const back = button("Cancel", () => dialog.close(), { changes: false });
  const dialog = openDialog("Claim what is due", h("p", {}, `Brings ${count(rewards.num_unclaimed)} receipts with ${openAmount(rewards.unclaimed_wei)} OPEN to the chain, submits the payout list, and finalizes unchallenged lists after their review period. The node does this anyway, when gas is cheap for what it brings. Its own key signs, within the day’s gas budget.`),
    facts([["Gas left of today’s budget", `${openAmount(BigInt(rewards.gas_budget_wei) - BigInt(rewards.gas_today_wei))} coins`]]), why, cliLine("rewards claim"), h("div", { class: "buttons" }, back, go));
  back.focus();
}

// ---- stake

// What the panel shows but for the clock: nobody types in a field that is drawn anew with each block.
const stakeFacts = ({ min_stake_wei, bonded_wei, signer, is_appointed, unbonding }, now) =>
  ({ min_stake_wei, bonded_wei, signer, is_appointed, lost_wei: canBeLost({ bonded_wei, min_stake_wei, unbonding }), isReady: unbonding.some((each) => each.ready_at_s <= now) });

// What votes can take at a time: stake that is leaving answers for receipts, too.
function canBeLost({ bonded_wei, min_stake_wei, unbonding }) {
  const all = BigInt(sum(bonded_wei, ...unbonding.map((each) => each.amount_wei)));
  return String(BigInt(min_stake_wei) < all ? min_stake_wei : all);
}

const drawLeaving = (all) => all.length ? all.map(([wei, when]) => h("div", {}, amount(wei), `, ${when}`)) : "nothing";

function drawStake(stake, held, leaving, again) {
  const words = (verb) => () => `stake ${verb} ${quoted(held.stake.trim() || "100")}`, line = cliLine(words("add")());
  const field = h("input", { id: "stake-amount", value: held.stake, inputmode: "decimal", "aria-label": "OPEN to add or remove", autocomplete: "off", dataset: { key: "stake-amount" }, oninput: () => { held.stake = field.value; line.change(words("add")()); } });
  const change = (verb, does, sentence, next) => says(button(`${does}…`, () => {
    const wei = weiOf(field.value);
    if (wei === null) { field.setAttribute("aria-invalid", "true"); field.focus(); return; }
    field.removeAttribute("aria-invalid");
    act({ title: `${does} ${openAmount(wei)} OPEN`, sentence, verb: `stake ${verb}`, args: { amount_wei: wei }, words: words(verb)(), does, wei, next, done: again });
  }, { key: `stake ${verb}` }), line, words(verb));
  const take = button("Withdraw…", () => act({ title: "Withdraw stake", sentence: "Takes out the stake whose time is over.", verb: "stake withdraw", args: {}, words: "stake withdraw", does: "Withdraw", next: "The stake is back in the wallet.", done: again }), { key: "stake withdraw", disabled: !stake.isReady });
  return panel({ class: "fill" }, "Stake", `${openAmount(stake.min_stake_wei, 0)} OPEN are needed to claim`, facts([
    ["Bonded", [amount(stake.bonded_wei), " OPEN"]], ["Leaving", leaving],
    ["Can be lost", [amount(stake.lost_wei), " OPEN at a time, if votes find that a receipt of this node has false shares; a false payout list costs its fee out of the claim"]],
    ["Signs", [id(stake.signer), stake.is_appointed ? " is appointed" : " is not appointed: adding stake does it"]],
  ]), h("span", { class: "fill" }), h("div", { class: "ask-amount" }, field, change("add", "Add", "Bonds this much, so that the node may claim what it earned; false shares can cost it.", "The stake counts from now on."), change("remove", "Remove", "Begins to take stake out; it can be withdrawn when the network’s time for it is over, and counts for nothing meanwhile.", "Leaving says when you can withdraw it."), says(take, line, "stake withdraw")), line);
}

// ---- channels

function drawChannels({ channels, now }, again) {
  const line = cliLine("channels list"), open = says(button("Open a channel…", () => openChannel(again), { key: "open channel" }), line, "channels open 0x… 1");
  return panel({}, "Channels", "a payer risks one chunk; so do you", channels.length ? table({
    caption: "Channels of either side", rows: channels, key: (each) => each.channel_id,
    columns: [
      { label: "Channel", head: true, keep: true, cell: (each) => id(each.channel_id) }, { label: "With", keep: true, rank: 2, cell: (each) => id(each.role === "payer" ? each.node : each.payer) }, { label: "You", cell: (each) => each.role },
      { label: "Deposit", num: true, rank: 2, cell: (each) => amount(each.deposit_wei) }, { label: "Used", num: true, rank: 2, cell: (each) => amount(each.charged_wei) }, { label: "Left", num: true, cell: (each) => amount(each.left_wei) },
      { label: "Last receipt", rank: 2, cell: (each) => time(each.last_receipt_at) }, { label: "State", cell: (each) => channelState(each, now) },
      { label: "", about: "Actions", num: true, cell: (each) => channelActions(each, now, line, again) },
    ],
  }) : h("p", { class: "dim" }, "No channel yet. One is opened for you when you buy an answer from another node, and payers open theirs."), h("div", { class: "buttons above8" }, open), line);
}

function channelState(each, now) {
  if (BigInt(each.withdrawing_wei) > 0n) return each.ready_at_s > now ? chip(`closing, ${span(each.ready_at_s - now)}`, "warn") : chip("may be withdrawn", "accent");
  if (BigInt(each.deposit_wei) === 0n) return chip(BigInt(each.charged_wei) > 0n ? "on credit, no deposit yet" : "not open yet", "warn");
  if (each.is_retired) return chip("claims only", "warn");
  return BigInt(each.left_wei) === 0n ? chip("used up", "warn") : chip("open", "ok");
}

function channelActions(each, now, line, again) {
  if (each.role !== "payer") return NONE;
  const name = each.channel_id.slice(0, 14);
  const does = (label, verb, sentence, wei, next) => says(button(`${label}…`, () => act({ title: `${label} channel ${short(each.channel_id)}`, sentence, verb: `channels ${verb}`, args: { channel_id: each.channel_id }, words: `channels ${verb} ${name}`, does: label, wei, next, done: again }), { kind: "small", key: `${verb} ${name}` }), line, `channels ${verb} ${name}`);
  const topUp = says(button("Top up…", () => askAmount("Top up", `channels top-up ${name}`, (wei, words) => act({ title: `Top up by ${openAmount(wei)} OPEN`, sentence: `Pays more into channel ${short(each.channel_id)}; what is not spent comes back.`, verb: "channels top-up", args: { channel_id: each.channel_id, amount_wei: wei }, words, does: "Top up", wei, next: "The channel can spend it from now on.", done: again })), { kind: "small", key: `top-up ${name}` }), line, `channels top-up ${name} 1`);
  if (BigInt(each.withdrawing_wei) > 0n) return each.ready_at_s <= now ? does("Withdraw", "withdraw", "Takes out what was asked for.", each.withdrawing_wei, "The OPEN are in the wallet.") : NONE;
  return h("span", { class: "buttons" }, topUp, BigInt(each.left_wei) > 0n && does("Close", "close", "Asks for what is left; after the channel’s delay it can be withdrawn. The node claims first what it has earned.", each.left_wei, "The channel’s delay runs now; then you can withdraw what is left."));
}

function askAmount(title, words, then, more = []) {
  const field = h("input", { id: "ask-amount", inputmode: "decimal", autocomplete: "off", oninput: () => line.change(`${words} ${quoted(field.value.trim() || "1")}`) }), line = cliLine(`${words} 1`), why = h("div", { role: "alert" });
  const dialog = openDialog(title, ...more, h("div", { class: "field" }, h("label", { for: "ask-amount" }, "OPEN"), field), why, line, h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), button("Continue", () => {
    const wei = weiOf(field.value);
    if (wei === null || wei === "0") return put(why, note("bad", "An amount is a number of OPEN, like 10 or 0.5."));
    dialog.close();
    then(wei, `${words} ${field.value.trim()}`);
  }, { kind: "primary" })));
  (more.length ? dialog.querySelector("input") : field).focus();
}

function openChannel(again) {
  const field = (key, about, placeholder) => {
    const input = h("input", { id: key, autocomplete: "off", placeholder });
    return { input, row: h("div", { class: "field" }, h("label", { for: key }, about), input) };
  };
  const node = field("channel-node", "Address of the node to be paid", "0x…"), generation = field("channel-generation", "Generation of its ledger", "as it advertises");
  askAmount("Open a channel", "channels open 0x…", (wei) => {
    const to = node.input.value.trim(), named = generation.input.value.trim(), words = `channels open ${quoted(to)} ${openAmount(wei, 18).replaceAll(",", "").replace(/\.?0+$/, "")}`;
    act({
      title: `Open a channel with ${openAmount(wei)} OPEN`, sentence: `Pays into a channel with ${short(to)}; what it does not earn comes back.`, verb: "channels open",
      args: { node: to, amount_wei: wei, withdraw_delay_s: null, generation: named || null }, words: named ? `${words} --generation ${quoted(named)}` : words, does: "Open", wei, next: "You can now buy answers from this node. Top up or close the channel under Channels.", done: again,
    });
  }, [node.row, generation.row]);
}

// ---- what contracts hold, and whether it all adds up

const HELD = { stake: "Stake", adapters: "Bonds of adapters", channels: "Deposits of channels" };

function drawBooks({ books, bonds, now }, again) {
  const column = (label, name, rank = 1) => ({ label, num: true, rank, cell: (each) => amount(each[name]) });
  const state = { label: "State", cell: (each) => each.holds ? chip("adds up", "ok") : chip("events are missing", "bad") };
  const line = cliLine("earnings"), live = bonds.filter((each) => each.state !== "returned");
  return panel({}, "Books", books.holds ? "what came in = what left + what is there, to the wei" : "they do not add up", table({
    caption: "Credited and withdrawn, OPEN", rows: [books.balance], key: () => "claims",
    columns: [column("Credited", "credited_wei"), column("Withdrawn", "withdrawn_wei"), column("Ready", "balance_wei"), state],
  }), table({
    caption: "Your own OPEN in contracts", rows: books.locked, key: (each) => each.what,
    columns: [{ label: "Locked", head: true, cell: (each) => HELD[each.what] }, column("Put in", "put_in_wei", 2), column("Returned", "returned_wei", 2), column("Used", "used_wei", 2), column("Locked now", "locked_wei"), state],
  }), live.length > 0 && table({
    caption: "Bonds of your adapters", rows: live, key: (each) => each.adapter_id,
    columns: [{ label: "Adapter", head: true, cell: (each) => each.name ?? id(each.adapter_id) }, column("Bond", "bond_wei"), { label: "State", cell: (each) => bondChip(each, now) }, { label: "", about: "Actions", num: true, cell: (each) => bondAction(each, now, line, again) }],
  }), !books.holds && note("bad", "Events of the chain are missing here. Read the chain again, and look once more.", null, "network rescan"), line);
}

const bondChip = ({ state, free_at_s: free }, now) => state === "published" ? chip("published", "ok") : free > now ? chip(`retired, free in ${span(free - now)}`, "warn") : chip("retired, free", "accent");

function bondAction(bond, now, line, again) {
  const name = bond.name ?? bond.adapter_id, does = { retire: retireBond, reclaim: reclaimBond };
  const verb = bond.state === "published" ? "retire" : bond.free_at_s <= now ? "reclaim" : null;
  return verb ? says(button(verb === "retire" ? "Retire…" : "Take back…", () => does[verb](name, bond.bond_wei, again), { kind: "small", key: `${verb} ${bond.adapter_id}` }), line, `adapters ${verb} ${quoted(name)}`) : NONE;
}

// ---- what was sent

const drawSent = ({ sent, isMore }, more) => panel({}, "Transactions", "written here before they are sent", sent.length ? table({
  caption: "Transactions, the newest first", rows: sent, key: (each) => each.key,
  columns: [
    { label: "When", keep: true, rank: 2, cell: (each) => time(each.at) }, { label: "What", head: true, cell: (each) => [each.summary, each.error && h("small", {}, each.error)] },
    { label: "Gas", num: true, rank: 2, cell: (each) => amount(each.fee_wei) }, { label: "State", cell: (each) => chip(`${each.times_raised ? `fee raised ${each.times_raised === 1 ? "once" : `${each.times_raised} times`}, ` : ""}${STATES[each.state] ?? each.state}`, TONES[each.state]) },
    { label: "Hash", keep: true, cell: (each) => id(each.hash) },
  ],
}) : h("p", { class: "dim" }, "Nothing was sent yet."), isMore && h("div", {}, button("Show more", more, { kind: "link", changes: false })), cliLine("wallet history"));
