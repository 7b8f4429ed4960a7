// Setting the price: the page's form of `price set`.
import { post } from "./api.js";
import { openDialog } from "./modal.js";
import { h } from "./dom.js";
import { poll } from "./events.js";
import { button, note } from "./parts.js";
import { toast } from "./toast.js";

// An amount that somebody wrote, like 0.114, in wei as a text; null where it is none.
export function weiOf(text) {
  const found = text.trim().match(/^(\d{1,20})(?:\.(\d{1,18}))?$/);
  return found ? (BigInt(found[1]) * 10n ** 18n + BigInt((found[2] ?? "").padEnd(18, "0"))).toString() : null;
}

export async function setPrice(price) {
  try {
    await post("/price", { price_wei: weiOf(price) });
    toast(`The price will be ${price} OPEN from the next bid on`);
    poll();
  } catch (error) {
    const dialog = openDialog("The price stays as it was", note("bad", error.message), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
  }
}
