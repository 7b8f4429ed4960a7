// Changing the limits: the page's form of `limits set`; the line under it says what it will do, as it is filled in.
import { post } from "./api.js";
import { cliLine, quoted } from "./cli.js";
import { openDialog } from "./modal.js";
import { h, put } from "./dom.js";
import { poll } from "./events.js";
import { button, note } from "./parts.js";
import { toast } from "./toast.js";

const GB = 1e9;

export function limitsDialog(now, isGpu) {
  const memory = isGpu ? "vram" : "ram", field = (id, value, about) => h("input", { id, value, placeholder: about, autocomplete: "off", oninput: change });
  const cap = field("limit-memory", gb(now[`${memory}_bytes`]), "no cap"), disk = field("limit-disk", gb(now.disk_bytes), "no cap"), hours = field("limit-hours", now.hours ?? "", "at any hour");
  const busy = h("input", { type: "checkbox", id: "limit-busy", checked: Boolean(now.pause_when_busy), onchange: change });
  const line = cliLine("limits set"), why = h("div", { role: "alert" });
  const dialog = openDialog("Change limits",
    labelled(isGpu ? "VRAM, GB" : "Main memory, GB", cap), labelled("Disk, GB", disk), labelled("Hours of service by this machine’s clock, not UTC, like 22:00-07:00", hours),
    h("p", {}, h("label", { for: "limit-busy" }, busy, " Pause while another program uses the GPU")), why, line,
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), button("Set limits", set, { kind: "primary" })));
  change();

  function wanted() {
    return { [`${memory}_bytes`]: bytesOf(cap.value), disk_bytes: bytesOf(disk.value), hours: hours.value.trim(), pause_when_busy: busy.checked };
  }

  function change() {
    const words = [["vram", "vram_bytes"], ["ram", "ram_bytes"], ["disk", "disk_bytes"]].filter(([, name]) => name in wanted() && wanted()[name] !== (now[name] ?? 0)).map(([flag, name]) => `--${flag} ${wanted()[name] / GB}GB`);
    if (wanted().hours !== (now.hours ?? "")) words.push(`--hours ${quoted(wanted().hours) || "''"}`);
    if (busy.checked !== Boolean(now.pause_when_busy)) words.push(busy.checked ? "--pause-when-busy" : "--no-pause-when-busy");
    line.change(["limits set", ...words].join(" "));
  }

  async function set() {
    try {
      if (Number.isNaN(bytesOf(cap.value)) || Number.isNaN(bytesOf(disk.value))) throw new Error("A limit is a number of GB, like 20 or 1.5. Leave it empty for no limit.");
      await post("/limits", wanted());
      dialog.close();
      toast("The new limits apply now");
      poll();
    } catch (error) {
      put(why, note("bad", error.message));
    }
  }
}

const labelled = (label, input) => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
const gb = (value) => value ? String(value / GB) : "";
const bytesOf = (text) => text.trim() ? Math.round(Number(text) * GB) : 0;
