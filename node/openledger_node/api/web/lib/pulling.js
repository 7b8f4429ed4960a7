// The pull that the node does now, or has done last: how far it is, and what can be done about it.
import { cliLine } from "./cli.js";
import { h } from "./dom.js";
import { bytes, percent, short, span } from "./format.js";
import { button, note, progress } from "./parts.js";

export const isPulling = (pull) => pull?.state === "running";

// `done` makes what stands there once the pull has ended well; `words` is its command.
export function drawPull(now, { pull, cancel, done, words }) {
  const { name, state, done_bytes: here, total_bytes: total } = now, shown = short(name, 24);
  if (state === "done") return done(now);
  if (state !== "running") return note(state === "failed" ? "bad" : "warn", [h("b", {}, `${shown} was not pulled. `), now.why ?? "You cancelled it. What has arrived stays for the next try."], button("Pull it again", () => pull(name), { kind: "small" }), words);
  const figures = total ? `, ${bytes(here)} of ${bytes(total)}, ${percent(here, total)}` : "", rate = now.bytes_per_s ? `, ${bytes(now.bytes_per_s)}/s, ${span(now.left_s)} left` : "";
  return h("div", { class: "above" }, h("p", { role: "status" }, h("b", {}, `Pulling ${shown}`), h("span", { class: "note12" }, ` ${now.what}${figures}${rate}`)),
    total && progress(here / total, `Download of ${shown}`), h("div", { class: "buttons above" }, button("Cancel the download", cancel, { kind: "small" })));
}
