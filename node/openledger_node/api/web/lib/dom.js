// Making elements. Whatever comes from elsewhere goes in as text, with what would act in it shown.

// Control characters, marks of direction, invisible tags, and halves of pairs: they would hide, reorder or break what is read.
const ACTING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const LONGEST = 4000;

// Text of others, safe to show: what acts is spelled out, and what is endless is cut.
export function clean(text, longest = LONGEST) {
  const whole = String(text);
  const cut = whole.length > longest ? `${whole.slice(0, longest)}… (${whole.length.toLocaleString("en")} characters)` : whole;
  return cut.replace(ACTING, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// A sentence of the node's as it is shown here: what a terminal has in backticks is code.
export const coded = (text) => typeof text === "string" ? text.split(/`([^`\n]+)`/).map((each, n) => n % 2 ? h("code", {}, each) : each) : text;

// h("td", {class: "num", onclick: f, "aria-label": "…", vars: {"--part": "40%"}}, "text", child, [more], null)
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "title" || name === "aria-label") element.setAttribute(name, clean(value));
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, given = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : clean(child));
  }
}

// Put new content into a place: elements, texts, or a function that makes them. What bears the same data-key keeps the
// focus, and what was typed in it. Under a pressed pointer the newest content waits: a click on what was replaced is none.
export function put(place, ...children) {
  waiting.delete(place);
  if (pressed && place.contains(pressed)) return void waiting.set(place, children);
  const held = place.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
  const typed = held && typedIn(held), made = children.map((each) => typeof each === "function" ? each() : each);
  place.replaceChildren();
  add(place, made);
  const again = held && [...place.querySelectorAll("[data-key]")].find((each) => each.dataset.key === held.dataset.key);
  again?.focus({ preventScroll: true });
  if (again && typed) typeInto(again, typed);
}

const typedIn = (field) => field.matches("input, textarea")
  ? { value: field.value, drawn: field.defaultValue, begin: field.selectionStart, end: field.selectionEnd, way: field.selectionDirection, left: field.scrollLeft, top: field.scrollTop } : null;

// What the screen itself has written meanwhile wins over what was typed.
function typeInto(field, { value, drawn, begin, end, way, left, top }) {
  if (!field.matches("input, textarea")) return;
  if (field.defaultValue === drawn) field.value = value;
  if (field.value === value && begin !== null) field.setSelectionRange(begin, end, way);
  Object.assign(field, { scrollLeft: left, scrollTop: top });
}

// ---- what is pressed

const CLICK_MS = 100; // a click comes within this after the pointer is up, if it comes at all
const waiting = new Map(); // place → its newest content
let pressed = null, timer = null;

function press(target) {
  clearTimeout(timer);
  pressed = target;
}

// From here on content is put at once again; what has waited comes after `afterMs`, unless its place got newer content.
function letGo(afterMs) {
  clearTimeout(timer);
  if (!afterMs) pressed = null;
  timer = setTimeout(() => {
    pressed = null;
    for (const [place, children] of [...waiting]) {
      try {
        put(place, ...children);
      } catch (error) {
        reportError(error); // the others are put in all the same
      }
    }
  }, afterMs);
}

const isPressedBySpace = (event) => event.key === " " && event.target.matches?.("button, summary, [type=checkbox]");

addEventListener("pointerdown", (event) => event.isPrimary && event.button === 0 && press(event.target), true);
addEventListener("keydown", (event) => isPressedBySpace(event) && press(event.target), true);
addEventListener("pointerup", () => pressed && letGo(CLICK_MS), true);
addEventListener("keyup", (event) => pressed && event.key === " " && letGo(CLICK_MS), true);
// Where its end was not heard: over a menu, on a scrollbar.
addEventListener("pointermove", (event) => pressed && event.pointerType === "mouse" && !event.buttons && letGo(CLICK_MS), true);
addEventListener("blur", (event) => pressed && event.target === window && letGo(0), true);
for (const name of ["click", "pointercancel"]) addEventListener(name, () => pressed && letGo(0), true); // before who hears it puts
// Chosen from a menu. What was typed elsewhere changes when it loses the focus to what is pressed: that goes on.
addEventListener("change", (event) => pressed && event.target.contains(pressed) && letGo(0), true);

// A part of a screen that is drawn anew only when what it shows has changed: so that reading and choosing stay undisturbed.
export function part(given = {}, tag = "section") {
  const place = h(tag, given);
  let shown;
  place.show = (facts, draw) => {
    const now = JSON.stringify(facts) ?? "";
    if (now === shown) return;
    shown = now;
    put(place, () => draw(facts));
  };
  return place;
}
