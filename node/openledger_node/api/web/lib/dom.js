// Making elements. Whatever comes from elsewhere goes in as text, with what would act in it shown.

// Control characters, marks of direction, and halves of pairs: they would hide, reorder or break what is read.
const ACTING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const LONGEST = 4000;

// Text of others, safe to show: what acts is spelled out, and what is endless is cut.
export function clean(text, longest = LONGEST) {
  const whole = String(text);
  const cut = whole.length > longest ? `${whole.slice(0, longest)}… (${whole.length.toLocaleString("en")} characters)` : whole;
  return cut.replace(ACTING, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

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

// Put new content into a place, keeping the focus on what bears the same data-key.
export function put(place, ...children) {
  const held = place.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
  place.replaceChildren();
  add(place, children);
  if (held) [...place.querySelectorAll("[data-key]")].find((each) => each.dataset.key === held)?.focus({ preventScroll: true });
}

// A part of a screen that is drawn anew only when what it shows has changed: so that reading and choosing stay undisturbed.
export function part(given = {}, tag = "section") {
  const place = h(tag, given);
  let shown;
  place.show = (facts, draw) => {
    const now = JSON.stringify(facts) ?? "";
    if (now === shown) return;
    shown = now;
    put(place, draw(facts));
  };
  return place;
}
