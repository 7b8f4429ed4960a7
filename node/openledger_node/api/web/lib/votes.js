// The values and their bounds, who casts your votes, and the guardian.
import { weiOf } from "./price.js";
import { cliLine, quoted, says } from "./cli.js";
import { act } from "./dialog.js";
import { h } from "./dom.js";
import { amount, count, id, NONE, open as openAmount, short, span, time } from "./format.js";
import { button, chip, facts, panel } from "./parts.js";
import { table } from "./table.js";

// ---- values

export function drawValues({ values, fixed, isMore }, more) {
  const waits = values.filter((each) => each.moves_from_epoch);
  return panel({ class: "fill values", "aria-label": "Parameters" }, "Parameters", "each change is known two epochs ahead", table({
    caption: "The values that votes can change", rows: values, key: (each) => each.key,
    columns: [
      { label: "Parameter", head: true, cell: (each) => [each.key, h("small", {}, each.meaning)] }, { label: "Now", num: true, cell: (each) => each.text },
      { label: "Next", num: true, cell: (each) => each.queued.length ? each.queued.map((next) => [h("b", {}, next.text), h("small", {}, `epoch ${count(next.from_epoch)}`)]) : NONE },
      { label: "Bounds", num: true, rank: 2, cell: (each) => boundsOf(each) },
    ],
  }), waits.length > 0 && h("p", { class: "note12 above8" }, `Can change again: ${waits.map((each) => `${each.key} from epoch ${count(each.moves_from_epoch)}`).join(", ")}.`),
  h("div", { class: "above8" }, button(isMore ? "Hide what no vote can change" : "What no vote can change", more, { kind: "link", key: "fixed", changes: false })),
  isMore && table({
    caption: "Times that no vote can change", rows: fixed, key: (each) => each.name,
    columns: [{ label: "Time", head: true, cell: (each) => [each.name, h("small", {}, each.meaning)] }, { label: "", about: "Length", num: true, cell: (each) => span(each.seconds) }],
  }), h("span", { class: "fill" }), cliLine("gov params"));
}

// "0 % to 10 %" with its unit once.
export const boundsOf = ({ bounds }) => bounds.replace(/^(\S+)( %| OPEN)? to (\S+)\2$/, "$1–$3$2");

// ---- voting power

// drawPower(votes, held, again): `held.to` keeps what is typed.
export function drawPower(votes, held, again) {
  const words = () => `gov delegate ${quoted(held.to.trim() || "self")}`, line = cliLine(words()), isOwn = votes.delegate === votes.account;
  const field = h("input", { id: "delegate-to", value: held.to, placeholder: "0x…", autocomplete: "off", spellcheck: "false", "aria-label": "Address that votes for you", dataset: { key: "delegate-to" }, oninput: () => { held.to = field.value; line.change(words()); } });
  const to = (whose, given) => act({ title: `Delegate to ${whose}`, sentence: "Your OPEN stays in your wallet; its votes count for this account in votes that begin afterwards.", verb: "gov delegate", args: { to: given }, words: `gov delegate ${quoted(given)}`, does: "Delegate", done: again });
  const go = says(button("Delegate…", () => {
    const given = field.value.trim(), isAddress = /^0x[0-9a-fA-F]{40}$/.test(given);
    field.toggleAttribute("aria-invalid", !isAddress);
    if (!isAddress) return field.focus();
    to(short(given), given);
  }, { key: "delegate" }), line, words);
  const own = !isOwn && says(button("To yourself…", () => to("yourself", "self"), { kind: votes.delegate ? "" : "primary", key: "delegate self" }), line, "gov delegate self");
  return panel({}, "Voting power", null, h("p", {}, powerText(votes, isOwn)), facts([
    ["Held", [amount(votes.held_wei), " OPEN"]], ["Votes", [amount(votes.votes_wei), " OPEN"]], ["Cast by", votes.delegate ? isOwn ? "yourself" : id(votes.delegate) : "nobody yet"], ["Staked", [amount(votes.staked_wei), " OPEN, without a vote"]],
  ]), h("div", { class: "ask-amount" }, field, go, own), votes.is_wrapped && drawWrap(votes, line, again), line);
}

function powerText(votes, isOwn) {
  if (isOwn) return "Your votes are yours. Delegate them and the other votes with them; the OPEN stays here.";
  return votes.delegate ? "Another account casts the votes of your OPEN. You can take them back at any time." : "OPEN counts as votes only once it is delegated, to yourself or to another.";
}

// Only where the token has no votes of its own.
function drawWrap(votes, line, again) {
  const field = h("input", { id: "wrap-amount", value: "100", inputmode: "decimal", "aria-label": "OPEN to wrap or unwrap", autocomplete: "off", dataset: { key: "wrap-amount" } });
  const does = (verb, label, sentence) => says(button(`${label}…`, () => {
    const wei = weiOf(field.value);
    field.toggleAttribute("aria-invalid", wei === null);
    if (wei === null) return field.focus();
    act({ title: `${label} ${openAmount(wei)} OPEN`, sentence, verb, args: { amount_wei: wei }, words: `${verb} ${field.value.trim()}`, does: label, wei, done: again });
  }, { key: verb }), line, () => `${verb} ${quoted(field.value.trim() || "100")}`);
  return [h("p", { class: "note12 above8" }, "The token of this network has no votes, so it is wrapped for them, one for one."), h("div", { class: "ask-amount" }, field, does("gov wrap", "Wrap", "Turns OPEN into votes; it comes back with Unwrap."), does("gov unwrap", "Unwrap", "Turns votes back into OPEN."))];
}

// ---- the guardian

export function stopText(guardian, now) {
  if (guardian.stopped_until_s) return [`stopped, ends by itself in ${span(guardian.stopped_until_s - now)}, ${time(guardian.stopped_until_s)} UTC`];
  return [guardian.can_stop ? "taken" : "taken; the guardian’s only stop is used up"];
}

export function drawGuardian(guardian, state) {
  return panel({}, "Guardian", guardian.isNow ? chip("deposits stopped", "warn") : null, facts([
    ["New deposits", state], ["Guardian", guardian.is_own ? "this node’s wallet" : id(guardian.account)],
    ["Can stop", "new deposits, once for ever and for at most 30 days; a vote can end it sooner"],
    ["Can’t stop", "open channels, claims, payments, withdrawals and votes; no deadline moves"],
  ]), h("span", { class: "fill" }), cliLine(guardian.isNow ? "gov propose resume" : "gov params"));
}
