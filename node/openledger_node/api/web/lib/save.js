// A conversation, or one answer with its marks, as a file of the person's own; no other machine sees it.
import { money, Refused } from "./api.js";
import { answersOf, asJson, asMarkdown, conversation } from "./conversation.js";
import { openDialog } from "./modal.js";
import { h, put } from "./dom.js";
import { button, note } from "./parts.js";

export function saveChat() {
  const save = (word, ending, type, content) => button(word, () => { download(`chat-${new Date().toISOString().slice(0, 16).replace(/\D/g, "-")}.${ending}`, type, content()); dialog.close(); }, { changes: false, kind: ending === "md" ? "primary" : "" });
  const digest = conversation.turns.flatMap(answersOf).flatMap((answer) => answer.parts).findLast((part) => part.digest)?.digest, place = h("div", {});
  const dialog = openDialog("Save this chat", h("p", {}, "The file has your questions and all answers. This tab alone keeps the chat, until you close the tab or begin a new chat."),
    digest && h("p", {}, "Who taught it saves the last paid answer alone: its marks, its rows and the people who gave them, as a page that opens without a node."), place,
    h("div", { class: "buttons" }, button("Cancel", () => dialog.close(), { changes: false }), digest && button("Who taught it", () => saveAnswer(digest, place).then((isSaved) => isSaved && dialog.close()), { changes: false }),
      save("JSON", "json", "application/json", asJson), save("Markdown", "md", "text/markdown", asMarkdown)));
}

// saveAnswer(digest, place): the answer of a receipt as one HTML file; a refusal stands in the place.
export async function saveAnswer(digest, place) {
  try {
    download(`answer-${digest.slice(2, 12)}.html`, "text/html", (await money("answer_page", { receipt: digest })).html);
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    put(place, note("bad", error.message));
    return false;
  }
}

export function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
