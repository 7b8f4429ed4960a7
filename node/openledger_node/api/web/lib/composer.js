// Where questions are written: Enter sends, Shift and Enter begins a line, Esc stops. It stays in view at the bottom.
import { conversation, keep, resume } from "./conversation.js";
import { h, part } from "./dom.js";
import { showKeys } from "./keys.js";
import { button, note } from "./parts.js";

const COMMANDS = { "/new": "a new chat", "/save": "save this chat as a file", "/help": "the keys of this page" };

// composer({send(question), stop, edit, startOver, save, newest, typed}): `show(facts)`, `write(text)`, `focus()`.
export function composer(act) {
  const field = h("textarea", { rows: "1", id: "question", "aria-label": "Your question", enterkeyhint: "send", oninput: () => { conversation.draft = field.value; keep(); act.typed(); }, onkeydown: onKey });
  const go = button("Send", () => facts.isAsking ? act.stop() : submit(), { kind: "primary", key: "send" });
  const notices = part({ class: "notices" }, "div"), about = h("p", { class: "note12" }), newest = button("↓ Newest", act.newest, { kind: "small newest", key: "newest", changes: false });
  const place = h("section", { class: "composer", "aria-label": "Your question" }, newest, notices, h("div", { class: "asks" }, field, go), h("div", { class: "between" }, about, h("span", { class: "keys" }, h("kbd", {}, "Enter"), " sends")));
  let facts = { isAsking: false, isPaused: false }, unknown = null;
  field.value = conversation.draft;

  function onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!facts.isAsking) submit();
    } else if (event.key === "Escape" && facts.isAsking) act.stop();
    else if (event.key === "ArrowUp" && !field.value) act.edit();
  }

  function submit() {
    const question = field.value.trim();
    if (!question) return field.focus();
    if (/^\/\w+$/.test(question) && !(question in COMMANDS)) {
      unknown = question;
      return drawNotices();
    }
    write("");
    if (question === "/new") act.startOver();
    else if (question === "/save") act.save();
    else if (question === "/help") showKeys();
    else act.send(question);
  }

  function write(text) {
    unknown = null;
    field.value = conversation.draft = text;
    if (text) field.focus();
    drawNotices();
  }

  const drawNotices = () => notices.show({ unknown, isPaused: facts.isPaused }, (now) => [
    now.isPaused && note("warn", "The node is paused.", button("Resume", resume, { kind: "primary", key: "resume" })),
    now.unknown && note("", `There is no command ${now.unknown}. There are ${Object.entries(COMMANDS).map(([name, does]) => `\`${name}\` (${does})`).join(", ")}.`, button("Send it as a question", () => { const question = now.unknown; write(""); act.send(question); }, { key: "send anyway" })),
  ]);

  return {
    place, write, focus: () => field.focus(),
    show(now) {
      facts = now;
      field.placeholder = now.asks;
      about.textContent = now.about;
      newest.hidden = !now.canScroll;
      if (go.textContent !== (now.isAsking ? "Stop" : "Send")) go.textContent = now.isAsking ? "Stop" : "Send";
      drawNotices();
    },
  };
}
