// The small parts that screens are made of.
import { cliLine } from "./cli.js";
import { coded, h } from "./dom.js";
import { NONE } from "./format.js";

// The top of a screen: what it is, one line about it, and the verb that shows the same.
export const heading = (title, about, words) =>
  h("div", { class: "head" }, h("div", {}, h("h1", {}, title), h("p", {}, about)), words && cliLine(words));

// A panel; `aside` stands small at the right of its title.
export function panel(given, title, aside, ...children) {
  const head = title && h("header", {}, h("h2", {}, title), aside && h("span", { class: "note12" }, aside));
  return h("section", { ...given, class: `panel ${given.class ?? ""}`, "aria-label": given["aria-label"] ?? (typeof title === "string" ? title : null) }, head, ...children);
}

// One figure; unknown is "–", never 0, and its context says why.
export const tile = ({ label, unit, value, after, context, more }) =>
  h("div", { class: "tile" },
    h("div", { class: "label" }, label, unit && h("span", {}, unit)),
    h("div", { class: "value" }, value ?? NONE, after && (value ?? null) !== null && h("small", {}, after)),
    context && h("div", { class: "context" }, context), more);

export const strip = (kind, ...children) => h("div", { class: `strip ${kind}` }, ...children);

export const chip = (word, tone = "") => h("span", { class: `chip ${tone}` }, word);

// facts([["Peer id", node], …]); pairs whose value is null are left out.
export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

// One suggestion or refusal, with its button and its line.
export const note = (tone, text, button = null, words = null) =>
  h("div", { class: `note ${tone}` }, h("p", {}, coded(text)), button, words && cliLine(words));

const SHADES = [100, 65, 45, 25];
export const shade = (n) => n < 0 ? (n === -1 ? "var(--line)" : "var(--line2)") : `color-mix(in srgb, var(--accent) ${SHADES[n % SHADES.length]}%, var(--surface))`;

// A bar of parts: [{label, value, text, shade}]; shade -1 is what is free, -2 what is kept for others.
export function meter(parts, label) {
  const whole = parts.reduce((all, each) => all + each.value, 0) || 1;
  const tone = (each, n) => shade(each.shade ?? n);
  return [
    h("div", { class: "meter", role: "img", "aria-label": `${label}: ${parts.map((each) => `${each.label} ${each.text}`).join(", ")}` },
      parts.map((each, n) => h("i", { vars: { "--part": `${(100 * each.value) / whole}%`, "--shade": tone(each, n) } }))),
    h("div", { class: "legend" }, parts.map((each, n) => h("span", {}, h("i", { vars: { "--shade": tone(each, n) } }), `${each.label} ${each.text}`))),
  ];
}

// How far something has come, 0 to 1.
export const progress = (share, label) =>
  h("div", { class: "meter thin", role: "progressbar", "aria-label": label, "aria-valuenow": Math.round(100 * share), "aria-valuemin": "0", "aria-valuemax": "100" },
    h("i", { vars: { "--part": `${100 * Math.min(1, Math.max(0, share))}%` } }));

// What a screen shows in place of what is not there: where and what, what is the case, what still works, a way out.
export const emptyState = ({ where, tone = "", title, text, buttons = [], words }) =>
  h("div", { class: "state-box" }, chip(where, tone), h("h2", {}, coded(title)), h("p", {}, coded(text)), buttons.length > 0 && h("div", { class: "buttons" }, buttons), words && cliLine(words));

// A button; one that changes something is off while the node is gone.
export function button(text, act, { kind = "", key, changes = true, ...more } = {}) {
  return h("button", { type: "button", class: kind, dataset: { key: key ?? text, ...(changes ? { changes: "" } : {}), ...(more.disabled ? { off: "" } : {}) }, onclick: act, ...more }, text);
}

// Turn a button off for a reason of its own: it stays so when the node comes back.
export function turn(button, isOff) {
  button.toggleAttribute("data-off", isOff);
  button.disabled = isOff || document.documentElement.hasAttribute("data-gone");
}

// The links of people who have a number and a colour: 1 to 4; 0 are the others.
export const person = (n, text = n || "…") => h("span", { class: "person", dataset: { person: n } }, text);
