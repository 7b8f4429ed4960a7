// One turn: the question, the answers beside each other, and below them who taught the adapter's.
import { answerView } from "./answer.js";
import { COLUMNS } from "./conversation.js";
import { h, part, put } from "./dom.js";
import { marked, spanMark, unitsIn, whole } from "./marked.js";
import { button } from "./parts.js";

const HEAD_PX = 56; // so much of who taught it is in view that it is seen to be there

// turnView(turn, {edit, heading}): `draw(answer)` shows what has become of an answer, `setLast(isLast)` what can be done with it; `end()` is where its answers end.
export function turnView(turn, { edit = null, heading = null }) {
  const held = { isLast: true, isTaughtOpen: null, drawn: null, part: 0 };
  const question = h("p", { class: "question" }, turn.question ? whole(turn.question) : heading), below = h("div", {});
  const change = part({ class: "under-question" }, "div");
  const kinds = COLUMNS.filter((kind) => turn.answers[kind]), views = new Map();
  for (const kind of kinds) views.set(turn.answers[kind], answerView(turn, kind, { isLast: () => held.isLast, isTaughtOpen: () => isOpen(), toggle: () => { held.isTaughtOpen = !isOpen(); drawAll(); } }));
  const main = turn.answers.adapter ?? turn.answers.base;
  let panel = null, coming = null;
  const columns = h("div", { class: kinds.length > 1 ? "columns" : "columns one" }, [...views.values()].map((view) => view.place));
  const place = h("article", { class: "turn", "aria-label": turn.question ? "A question and its answers" : "An older answer" }, question, change,
    columns, below);

  const receipts = () => main.parts.map((each) => each.receipt), isOpen = () => held.isTaughtOpen ?? held.isLast;

  // The panel is fetched with the first receipt, because most answers are read without it.
  const fetchPanel = () => coming ??= import("./attribution.js").then(
    ({ attributionPanel }) => { panel = attributionPanel(views.get(main).text); }, () => { coming = null; }); // gone: the next draw fetches it

  // The marks are drawn anew only when the spans have changed, so that a pressed one stays pressed.
  function drawTeaching() {
    const found = receipts(), n = found[held.part] ? held.part : found.findLastIndex(Boolean);
    if (n < 0) return put(below);
    const spans = found.map((each) => each?.teaching.spans ?? []), drawn = JSON.stringify([main.text.length, spans]);
    if (drawn !== held.drawn && ["done", "stopped", "failed"].includes(main.state)) {
      held.drawn = drawn;
      views.get(main).mark(main.parts.flatMap((each, at) => marksOf(each, at)));
      if (turn.question) put(question, marked(turn.question, found[0]?.teaching.question_spans ?? [], thin));
    }
    if (!isOpen()) return put(below);
    if (!panel) return fetchPanel().then(() => panel && drawTeaching());
    if (!below.contains(panel.place)) put(below, panel.place);
    panel.show(found[n], n);
  }

  function marksOf({ begin, receipt }, at) {
    const units = unitsIn(main.text), own = receipt?.answer ?? null;
    if (own === null || main.text.slice(units(begin), units(begin + [...own].length)) !== own) return [];
    return receipt.teaching.spans.map((span, n) => ({
      begin: units(begin + span.begin), end: units(begin + span.end),
      make: (words, isFirst, isInLink) => spanMark(words, span, { part: at, n, isButton: isFirst && !isInLink, press: () => press(at, n), hover: (isOver) => { if (panel?.isOf(at)) panel.hover(n, isOver); } }),
    }));
  }

  async function press(at, n) {
    Object.assign(held, { part: at, isTaughtOpen: true });
    await fetchPanel();
    drawAll();
    panel?.press(n);
  }

  const thin = (text, span) => h("mark", { class: "mark thin", dataset: { person: span.number }, title: "these words stand in a row, too, and count in its score" }, document.createTextNode(text));

  function drawAll() {
    for (const view of views.values()) view.draw();
    drawTeaching();
    change.show(held.isLast && edit && !COLUMNS.some((kind) => ["asking", "loading", "writing"].includes(turn.answers[kind]?.state)), (can) => can && button("Edit", edit, { kind: "link", key: "edit question", "aria-label": "Edit the question and send it again" }));
  }

  drawAll();
  return {
    turn, place, panel: () => below.contains(panel?.place ?? null) ? panel : null,
    shows: (other) => other === turn && kinds.every((kind) => views.has(turn.answers[kind])),
    has: (answer) => views.has(answer), end: () => columns.getBoundingClientRect().bottom + (below.contains(panel?.place ?? null) ? HEAD_PX : 0),
    draw: drawAll,
    setLast(isLast) { if (isLast !== held.isLast) { held.isLast = isLast; drawAll(); } },
  };
}
