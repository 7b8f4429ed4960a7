// A dialog over the page, for every screen; dialog.js has the one for what costs.
import { h } from "./dom.js";

// Ask the person something: title, content, and the buttons beside Cancel. Focus goes back when it closes, to what was
// drawn again in place of the opener, too.
export function openDialog(title, ...content) {
  const before = document.activeElement;
  const again = () => before?.isConnected ? before : [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === before?.dataset.key);
  const dialog = h("dialog", { "aria-label": typeof title === "string" ? title : null, onclose: () => { dialog.remove(); again()?.focus(); } }, h("h2", {}, title), ...content);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
