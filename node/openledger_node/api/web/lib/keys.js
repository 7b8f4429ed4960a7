// Keys: `g` and a letter for a screen, single letters for what is done often. Not inside fields; a switch turns them off.
import { copyNearest } from "./cli.js";
import { h } from "./dom.js";
import { openDialog } from "./modal.js";
import { button } from "./parts.js";
import { moveRow } from "./table.js";

const LIST = [
  ["g then h c b a f d m g p", "Home, Chat, Models, Adapters, Factory, Datanets, Money, Governance, Peers"], ["/", "filter; in Chat the question"], ["j k", "next, last row; Enter opens it"],
  ["[ ]", "last, next marked span (Chat)"], ["1–4, 0", "one person, all (Chat)"], ["a x", "approve, reject (Datanets)"], ["y", "copy the command of the focused panel"],
  ["Enter", "send; Shift Enter makes a new line, Esc stops (Chat)"], ["t", "dark, light, as the system"], ["?", "this list"], ["Esc", "close, let go"],
];
const OFF = "openledger-keys-off";
const own = new Map(); // keys of the screen that is shown

// Keys of a screen while it is mounted: screenKeys({"[": f}); returns how to let go of them.
export function screenKeys(keys) {
  for (const [key, act] of Object.entries(keys)) own.set(key, act);
  return () => Object.keys(keys).forEach((key) => own.delete(key));
}

export function listen({ go, letters, toggleTheme }) {
  let isGoing = false;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key !== "?" && event.key !== "Escape" && localStorage.getItem(OFF)) return;
    const act = isGoing ? letters[event.key] && (() => go(letters[event.key])) : acts[event.key] ?? own.get(event.key);
    isGoing = !isGoing && event.key === "g";
    if (!act) return;
    event.preventDefault();
    act(event);
  });
  const acts = {
    "?": showKeys, t: toggleTheme, y: copyNearest, j: () => moveRow(1), k: () => moveRow(-1),
    "/": () => (document.getElementById("question") ?? document.querySelector("main .filter"))?.focus(),
  };
}

export function showKeys() {
  const isOff = h("input", { type: "checkbox", id: "keys-off", checked: Boolean(localStorage.getItem(OFF)), onchange: () => isOff.checked ? localStorage.setItem(OFF, "1") : localStorage.removeItem(OFF) });
  const dialog = openDialog("Keyboard",
    h("dl", { class: "facts" }, LIST.map(([keys, does]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, does)])),
    h("p", {}, ""), h("div", { class: "buttons" }, h("label", { for: "keys-off" }, isOff, " Turn single keys off"), button("Close", () => dialog.close(), { changes: false })));
}
