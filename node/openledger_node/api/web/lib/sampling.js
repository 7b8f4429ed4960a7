// How answers are drawn: the system text, temperature, length and seed, folded away until somebody wants them.
import { conversation, DEFAULTS, keep } from "./conversation.js";
import { h, part } from "./dom.js";
import { button } from "./parts.js";

const NUMBERS = [["temperature", "Temperature", 0, 2, 0.1], ["maxTokens", "Tokens at most", 1, 131072, 1], ["seed", "Seed", 0, Number.MAX_SAFE_INTEGER, 1]];

// settingsForm(changed): `show({isDevelopment})`; on a development network a guest may pay.
export function settingsForm(changed) {
  const summary = h("summary", {}, "Settings"), form = part({ class: "sampling" }, "div"), place = h("details", { class: "advanced settings" }, summary, form);
  const set = (name, value) => { conversation.settings[name] = value; say(); keep(); changed(); };

  // What differs from the usual can be read without unfolding it.
  function say() {
    const { system, temperature, maxTokens, seed } = conversation.settings;
    const other = [system.trim() && "system text", temperature !== DEFAULTS.temperature && `temperature ${temperature}`, maxTokens !== DEFAULTS.maxTokens && `${maxTokens} tokens`, seed !== DEFAULTS.seed && `seed ${seed}`].filter(Boolean);
    summary.textContent = other.length ? `Settings: ${other.join(", ")}` : "Settings";
  }

  function draw({ isDevelopment }) {
    const { settings } = conversation, guest = h("input", { type: "checkbox", id: "guest", dataset: { key: "guest" }, checked: conversation.isGuest, onchange: () => { conversation.isGuest = guest.checked; keep(); changed(); } });
    const system = h("textarea", { id: "system", rows: "2", dataset: { key: "system" }, placeholder: "How the model should answer, in your words", oninput: () => set("system", system.value) });
    system.value = settings.system;
    return [
      h("div", { class: "field" }, h("label", { for: "system" }, "System text"), system),
      h("div", { class: "numbers" }, NUMBERS.map(([name, label, min, max, step]) => {
        const input = h("input", { type: "number", id: `set-${name}`, dataset: { key: `set ${name}` }, min: String(min), max: String(max), step: String(step), value: String(settings[name]), onchange: () => {
          const value = input.value === "" || Number.isNaN(input.valueAsNumber) ? DEFAULTS[name] : Math.min(max, Math.max(min, step === 1 ? Math.round(input.valueAsNumber) : input.valueAsNumber));
          input.value = String(value);
          set(name, value);
        } });
        return h("div", { class: "field" }, h("label", { for: `set-${name}` }, label), input);
      })),
      h("div", { class: "between" }, isDevelopment ? h("label", { for: "guest", class: "check" }, guest, " A guest pays for the adapter’s answers, so that receipts say who taught them") : h("span", {}),
        button("Usual settings", () => { Object.assign(settings, DEFAULTS); say(); form.show({ isDevelopment, again: performance.now() }, draw); keep(); changed(); }, { kind: "link", key: "usual", changes: false })),
    ];
  }

  say();
  return { place, show: (facts) => form.show(facts, draw) };
}
