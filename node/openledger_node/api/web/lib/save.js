// A conversation as a file of the person's own; it is made here, and no other machine sees it.
import { asJson, asMarkdown } from "./conversation.js";
import { openDialog } from "./modal.js";
import { h } from "./dom.js";
import { button } from "./parts.js";

export function saveChat() {
  const save = (word, ending, type, content) => button(word, () => { download(`chat-${new Date().toISOString().slice(0, 16).replace(/\D/g, "-")}.${ending}`, type, content()); dialog.close(); }, { changes: false, kind: ending === "md" ? "primary" : "" });
  const dialog = openDialog("Save this chat", h("p", {}, "The file has your questions and all answers. This tab alone keeps the chat, until you close the tab or begin a new chat."),
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), save("JSON", "json", "application/json", asJson), save("Markdown", "md", "text/markdown", asMarkdown)));
}

export function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
