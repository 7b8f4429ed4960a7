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

// From a place in characters to one in a string's own units, of which some characters take two.
export function unitsIn(text) {
  if (!/[\ud800-\udbff]/.test(text)) return (place) => place;
  const units = [0];
  for (const letter of text) units.push(units.at(-1) + letter.length);
  return (place) => units[place] ?? text.length;
}

// A span of the answer. Where the markdown takes it apart, its first piece is the button, and the others follow the mouse alone.
export function spanMark(words, span, { part, n, isButton, press, hover }) {
  const also = span.num_also_in ? `, also in ${span.num_also_in} other ${span.num_also_in === 1 ? "row" : "rows"}` : "";
  const keys = isButton ? { role: "button", tabindex: "0", "aria-pressed": "false" } : {}, { onclick, onkeydown } = pressed(press);
  return h("mark", {
    class: "mark", ...keys, dataset: { person: span.number, account: span.account, part, span: n, ...(isButton ? { key: `span ${part} ${n}` } : {}) },
    title: `row ${span.row.slice(0, 10)}…, ${span.tokens} tokens${also}`,
    onclick, onkeydown: isButton ? onkeydown : null, onpointerenter: () => hover(true), onpointerleave: () => hover(false),
  }, document.createTextNode(words));
}

// What makes an element a button for mouse and keys.
export const pressed = (press) => ({ onclick: press, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); } } });
