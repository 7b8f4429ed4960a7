// A word at the bottom right, for what needs no answer; never for an error.
import { h } from "./dom.js";

const SHOWN_MS = 4000, FADE_MS = 150;

export function toast(text, undo = null) {
  const box = h("div", { class: "toast" }, text, undo && h("button", { onclick: () => { box.remove(); undo(); } }, "Undo"));
  document.getElementById("toasts").append(box);
  setTimeout(() => box.style.setProperty("opacity", "0"), SHOWN_MS);
  setTimeout(() => box.remove(), SHOWN_MS + FADE_MS);
}
