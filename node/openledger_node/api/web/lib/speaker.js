// Answers for who listens: sentence by sentence, since a token is no word. One voice: of two columns, the adapter's.
import { conversation } from "./conversation.js";
import { clean, h } from "./dom.js";

const KEPT = 20, SENTENCE = /(?<!\d)[.!?…:]["'”’)\]*]*\s|\S\n/g, SIGNS = /[*`#|]+/g;

// speaker(): `hear(answers)` says what has been finished in them since the last time.
export function speaker() {
  const place = h("div", { class: "unseen", role: "log", "aria-live": "polite", "aria-label": "Answers" }), said = new WeakMap();

  function say(text) {
    if (!text.trim()) return;
    place.append(h("p", {}, clean(text.replace(SIGNS, "").trim())));
    while (place.childElementCount > KEPT) place.firstChild.remove();
  }

  function hear(answers) {
    const turn = conversation.turns.at(-1), answer = turn && (turn.answers.adapter ?? turn.answers.base);
    if (!answer || !answers.includes(answer)) return;
    const from = said.get(answer) ?? 0, isOver = ["done", "stopped", "failed"].includes(answer.state);
    const rest = answer.text.slice(from), end = isOver ? rest.length : Math.max(0, ...[...rest.matchAll(SENTENCE)].map((found) => found.index + found[0].length));
    if (end) say(`${from ? "" : `${answer.model}: `}${rest.slice(0, end)}`);
    if (end) said.set(answer, from + end);
    if (answer.state === "failed" && answer.trouble !== said.get(answer.parts)) say(answer.trouble.says);
    said.set(answer.parts, answer.trouble);
  }
  return { place, hear };
}
