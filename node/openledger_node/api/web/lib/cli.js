// The line for a terminal that does what a button does: one for a panel; it follows the button under focus or mouse.
import { h } from "./dom.js";
import { toast } from "./toast.js";

const PROGRAM = "openledger-node";

// cliLine("price set 0.114"); give it to buttons by `says(button, line)`.
export function cliLine(words) {
  const code = h("code", {}, spelled(words));
  const line = h("div", { class: "cli" }, code, h("button", { class: "link", "aria-label": "Copy the command", dataset: { key: `copy ${words}` }, onclick: () => copy(code.textContent) }, "Copy"));
  line.own = words;
  line.say = (other) => code.replaceChildren(...spelled(other ?? line.own));
  line.change = (other) => { line.own = other; line.say(other); };
  return line;
}

// A line breaks between words alone: flags have hyphens.
const spelled = (words) => `${PROGRAM} ${words}`.split(" ").flatMap((word, n) => n ? [" ", h("span", {}, word)] : [h("span", {}, word)]);

// While a button is looked at, the panel's line is the button's.
export function says(button, line, words) {
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => line.say(typeof words === "function" ? words() : words));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => line.say(null));
  return button;
}

// A word of a command, quoted where a shell would take it apart.
export const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replaceAll("'", `'\\''`)}'`;

export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission: the old way
    const field = h("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  toast(what);
}

// The line of the panel that has the focus, else the screen's first.
export function copyNearest() {
  const panel = document.activeElement?.closest(".panel, .note, .state-box, dialog, .head");
  const code = (panel?.querySelector(".cli code")) ?? document.querySelector("dialog[open] .cli code, main .cli code");
  if (code) copy(code.textContent);
}
