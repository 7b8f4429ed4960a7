// A text with what matched in it marked; places are counted in characters, as the node counts them.
import { clean, h } from "./dom.js";

const ALL = 1e6;

// marked(text, spans, mark(words, span, n)): the text as nodes, each span's words as whatever `mark` makes of them.
export function marked(text, spans, mark) {
  const letters = [...text], parts = [];
  let at = 0;
  spans.forEach((span, n) => {
    if (span.begin < at || span.end > letters.length) return;
    parts.push(plain(letters.slice(at, span.begin)), mark(clean(letters.slice(span.begin, span.end).join(""), ALL), span, n));
    at = span.end;
  });
  parts.push(plain(letters.slice(at)));
  return parts;
}

// h() cuts long texts; an answer is shown whole.
export const whole = (text) => document.createTextNode(clean(text, ALL));
const plain = (letters) => whole(letters.join(""));

// A span of the answer: pressed by mouse or key, it lets its person stand out.
export function spanMark(words, span, n, press, hover) {
  const also = span.num_also_in ? `, also in ${span.num_also_in} other ${span.num_also_in === 1 ? "row" : "rows"}` : "";
  return h("mark", {
    class: "mark", role: "button", tabindex: "0", "aria-pressed": "false", dataset: { person: span.number, account: span.account, span: n, key: `span ${n}` },
    title: `row ${span.row.slice(0, 10)}…, ${span.tokens} tokens${also}`,
    ...pressed(press), onpointerenter: () => hover(true), onpointerleave: () => hover(false),
  }, document.createTextNode(words), h("sup", {}, span.number || "…"));
}

// What makes an element a button for mouse and keys.
export const pressed = (press) => ({ onclick: press, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); } } });
