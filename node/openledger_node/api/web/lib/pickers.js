// Which base and which adapter are asked; a long list of models has a field that narrows it.
import { h, part } from "./dom.js";

export const NONE_CHOSEN = "-"; // as the address has it
const LONG = 12;

// pickers({base(name), adapter(name)}): `show({bases, adapters: [[name, where]], base, adapter})`; null is not asked.
export function pickers(change) {
  const place = part({ class: "pickers" }, "div"), filters = { base: "", adapter: "" };
  let facts = null;
  const redraw = () => place.show({ ...facts, filters }, draw);

  function draw({ bases, adapters, base, adapter }) {
    const lost = adapter && !adapters.some(([name]) => name === adapter) ? [[adapter, `${adapter} — missing`]] : [];
    return [
      pick("base", "Base", bases.map((name) => [name, name]), base, adapter && "not asked"),
      (adapters.length > 0 || lost.length > 0) && pick("adapter", "Adapter", [...lost, ...adapters.map(([name, where]) => [name, `${name} — ${where}`])], adapter, base && "not asked"),
    ];
  }

  function pick(kind, label, all, value, none) {
    const filter = filters[kind].toLowerCase(), shown = all.filter(([name]) => name === value || name.toLowerCase().includes(filter));
    const options = [...(none || !value ? [[NONE_CHOSEN, none || "none"]] : []), ...shown];
    return h("div", { class: "field" }, h("label", { for: kind }, label),
      all.length > LONG && h("input", { class: "filter", "aria-label": `Search ${all.length} ${kind === "base" ? "bases" : "adapters"}`, placeholder: `Search ${all.length}`, value: filters[kind], dataset: { key: `filter ${kind}` }, oninput: (event) => { filters[kind] = event.target.value; redraw(); } }),
      h("select", { id: kind, dataset: { key: kind }, onchange: (event) => change[kind](event.target.value) }, options.map(([name, text]) => h("option", { value: name, selected: name === (value ?? NONE_CHOSEN) }, text))));
  }

  return { place, show: (given) => { facts = given; redraw(); } };
}
