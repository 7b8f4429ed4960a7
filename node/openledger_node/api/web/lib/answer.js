// One answer as a column: its head, its text as it grows, why it ended or did not come, and what can be done then.
import { askAgain, isAsking, resume, run, startOver } from "./conversation.js";
import { copy } from "./cli.js";
import { clean, h, part, put } from "./dom.js";
import { count, decimal, open as openAmount, sum } from "./format.js";
import { markdownView } from "./markdown.js";
import { whole } from "./marked.js";
import { button, note } from "./parts.js";
import { taughtBy } from "./taught.js";

const WAITS = { asking: "Waiting for the first token…", loading: "The engine is loading…" };

// answerView(turn, kind, {isLast(), isTaughtOpen(), toggle()}): `draw()` shows what the answer has become.
export function answerView(turn, kind, act) {
  const answer = turn.answers[kind];
  const pace = h("span", { class: "note12 pace" }), seconds = h("summary", {}), reasons = h("p", {}), thought = h("details", { class: "thought", hidden: true }, seconds, reasons);
  const text = h("div", { class: `answer ${kind}` }), waits = h("p", { class: "dim" }), words = markdownView(text);
  const calls = part({}, "div"), foot = part({ class: "after" }, "div");
  const place = h("article", { class: "panel said", "aria-label": kind === "base" ? "The base’s answer" : "The adapter’s answer" },
    h("header", {}, h("h2", {}, clean(answer.model)), pace), thought, text, waits, calls, foot);
  let shown = null;

  function draw() {
    const isOpen = ["asking", "loading", "writing"].includes(answer.state);
    pace.textContent = paceOf(answer);
    thought.hidden = !answer.reasoning;
    seconds.textContent = answer.text || !isOpen ? `Thought${answer.thoughtMs ? ` for ${decimal(answer.thoughtMs / 1000, answer.thoughtMs < 9950 ? 1 : 0)} s` : ""}` : "Thinking…";
    if (reasons.textContent.length !== answer.reasoning.length) put(reasons, whole(answer.reasoning));
    if (shown !== answer.text) isOpen ? words.show(answer.text) : words.settle(answer.text);
    else if (!isOpen) words.settle(answer.text);
    shown = answer.text;
    waits.textContent = answer.text || answer.reasoning ? "" : answer.state === "loading" ? sentence(answer.says) : WAITS[answer.state] ?? (answer.state === "done" && !answer.calls.length ? "An empty answer." : "");
    waits.hidden = !waits.textContent;
    calls.show(answer.calls, (all) => all.map((call) => [h("h3", {}, "Calls ", h("code", {}, call.name)), h("pre", { class: "row-text", tabindex: "0", role: "group", "aria-label": "Arguments" }, whole(call.arguments))]));
    const receipts = answer.parts.map((each) => each.receipt).filter(Boolean);
    foot.show({
      isOpen, isLast: act.isLast(), isBusy: isAsking(), state: answer.state, trouble: answer.trouble, finish: answer.finish, cut: answer.cut, says: answer.state === "done" ? answer.says : null, maxTokens: answer.maxTokens,
      hasText: Boolean(answer.text), taught: receipts.length ? taughtBy(receipts.at(-1)) : null, isTaughtOpen: act.isTaughtOpen(), noReceipt: act.isLast() && kind === "adapter" ? answer.noReceipt ?? null : null,
    }, drawFoot);
  }

  function drawFoot(facts) {
    if (facts.isOpen) return null;
    const can = facts.isLast && !facts.isBusy && turn.question, isShort = facts.finish === "length" || facts.state === "stopped";
    const more = can && isShort && facts.hasText && button("Continue", () => run(turn, kind), { kind: "small", key: `continue ${kind}` });
    return [
      facts.says && note("warn", facts.says), facts.cut && note("warn", `Cut short: ${facts.cut}`), facts.trouble && troubleNote(facts),
      h("div", { class: "buttons" },
        endOf(facts), more,
        facts.hasText && button("Copy", () => copy(answer.text), { kind: "link", key: `copy ${kind}`, changes: false }),
        can && facts.hasText && button("Regenerate", () => askAgain(turn, kind, { isAnother: true }), { kind: "link", key: `another ${kind}` }),
        facts.taught && h("button", { type: "button", class: "link", dataset: { key: `taught ${kind}` }, "aria-expanded": String(facts.isTaughtOpen), onclick: () => act.toggle() }, facts.isTaughtOpen ? "Hide who taught it" : facts.taught)),
      facts.noReceipt && h("p", { class: "note12" }, facts.noReceipt),
    ];
  }

  const endOf = (facts) => facts.finish === "length" ? h("span", { class: "note12" }, `Stopped at ${count(facts.maxTokens)} tokens.`) : facts.state === "stopped" ? h("span", { class: "note12" }, answer.asGuest ? "Stopped here; the guest buys it to its end." : "Stopped.") : null;

  function troubleNote({ trouble, hasText }) {
    const again = () => hasText ? run(turn, kind) : askAgain(turn, kind);
    const retry = button(hasText ? "Go on" : "Ask again", again, { key: `again ${kind}` });
    if (trouble.kind === "paused") return note("warn", trouble.says, button("Resume", () => resume().then(again), { kind: "primary", key: `resume ${kind}` }));
    if (trouble.kind === "room") return note("warn", `This conversation no longer fits: ${trouble.says}`, button("New chat", startOver, { key: `new ${kind}` }));
    return note(trouble.kind === "busy" ? "warn" : "bad", sentence({ busy: `The engine is busy: ${trouble.says}`, gone: trouble.says, refused: `No answer: ${trouble.says}` }[trouble.kind]), act.isLast() && retry);
  }

  return { place, text, draw, mark: (marks) => { words.mark(answer.text, marks); numberMarks(text); } };
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?…]$/.test(words) ? "" : "."}`;

// The number of a person stands after the last piece of each span.
function numberMarks(text) {
  const last = new Map([...text.querySelectorAll(".mark")].map((each) => [`${each.dataset.part} ${each.dataset.span}`, each]));
  for (const mark of last.values()) mark.append(h("sup", {}, Number(mark.dataset.person) || "…"));
}

function paceOf(answer) {
  const paid = answer.parts.map((each) => each.receipt?.amount_wei).filter(Boolean), parts = [];
  if (answer.tokens || (answer.state === "done" && answer.tokens === 0)) parts.push(`${count(answer.tokens)} ${answer.tokens === 1 ? "token" : "tokens"}`);
  if (answer.firstMs) parts.push(`${decimal(answer.firstMs / 1000, 2)} s to first`);
  if (answer.rate) parts.push(`${decimal(answer.rate, answer.rate < 10 ? 1 : 0)} tokens/s`);
  if (answer.attempt) parts.push(`temperature ${answer.temperature}, seed ${answer.seed}`);
  if (paid.length) parts.push(`paid ${openAmount(sum(...paid))} OPEN`);
  return parts.join(" · ");
}
