// The dialog of what costs: plan, show, act. What it does is what the verb does: it asks the same two questions.
import { money, Refused } from "./api.js";
import { cliLine } from "./cli.js";
import { coded, h, put } from "./dom.js";
import { count, id, open as openAmount } from "./format.js";
import { openDialog } from "./modal.js";
import { button, chip, note, turn } from "./parts.js";

const POLL_MS = 700;
const LOST = "The node’s answer was lost: this may have been sent, or not. Money, Transactions shows it; look there before you try again.";
const MINED = ["mined", "final"], BAD = ["reverted", "failed", "refused"];
const isOver = (each) => MINED.includes(each.state) || BAD.includes(each.state);

export { openDialog };

// act({title, sentence, verb, args, words, does, wei, done}): `verb` and `args` as POST /money/plan takes them; `words` is the
// command; `does` the word on the button; `wei` the amount, where there is one; `next` what comes after it; `done(transactions)` after
// the last block.
export function act({ title, sentence, verb, args = {}, words, does, wei = null, next = null, done, isOwn }) {
  const body = h("div", {}, h("p", {}, "Asking the chain what it would cost…"));
  const dialog = openDialog(title, sentence && h("p", {}, sentence), body), heading = dialog.querySelector("h2");
  heading.setAttribute("aria-live", "polite");
  const cancel = (word = "Cancel") => button(word, () => dialog.close(), { changes: false });

  async function plan(password = null) {
    try {
      const [found, where] = await Promise.all([money("plan", { verb, arguments: args, password }), money("network")]);
      show(found, where);
    } catch (error) {
      if (!(error instanceof Refused)) return fail("the node is not running");
      if (/locked|password/i.test(error.message)) return askPassword(password === null ? null : error.message);
      fail(error.message);
    }
  }

  function show(found, where) {
    const symbol = where.symbol ?? "OPEN";
    const rows = [
      wei !== null && ["Amount", `${openAmount(wei)} ${symbol}`, wei],
      ...found.steps.map((step) => [step.summary, `gas ${count(step.gas)}`, null]),
      ["Gas, at most", `${openAmount(found.fee_wei)} coins`, found.fee_wei],
      found.wallet_after_wei !== null && ["Wallet afterwards", `${openAmount(found.wallet_after_wei)} ${symbol}`, found.wallet_after_wei],
      ["Gas left of today’s budget", `${openAmount(found.gas_left_wei)} coins`, found.gas_left_wei],
    ].filter(Boolean);
    const go = once(does, "Sending…", () => carryOut(found));
    const back = cancel();
    put(body, sums(rows), said(found).map((line) => h("p", { class: "note12" }, line)), cliLine(words),
      h("p", { class: "note12" }, "You may leave the page while it is pending. Money, Transactions shows it."),
      h("div", { class: "buttons" }, back, (isOwn || found.steps.length > 0) && go));
    back.focus();
  }

  function askPassword(why) {
    const field = h("input", { type: "password", autocomplete: "off", id: "dialog-password" });
    const unlock = once("Unlock", "Opening…", () => { const given = field.value; field.value = ""; plan(given); });
    put(body, why && note("bad", why), h("div", { class: "field" }, h("label", { for: "dialog-password" }, "Password of the wallet; forgotten afterwards"), field),
      cliLine(words), h("div", { class: "buttons" }, cancel(), unlock));
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); unlock.click(); } });
    field.focus();
  }

  async function carryOut(found) {
    heading.textContent = `Sending: ${title}`;
    try {
      const { transactions } = await money("act", { plan: found.plan });
      follow(transactions, found.wallet_after_wei !== null);
    } catch (error) {
      fail(error instanceof Refused && error.status < 500 ? error.message : LOST, "Close");
    }
  }

  // Until all are final, or the dialog is closed. Calls `done` once, as soon as all are in a block.
  async function follow(transactions, hasBalance) {
    const keys = transactions.map((each) => each.key);
    let shown = null, isDone = false, wallet = null;
    for (;;) {
      if (!isDone && transactions.every(isOver)) {
        isDone = true;
        done?.(transactions);
        wallet = hasBalance ? await money("stake").catch(() => null) : null;
      }
      const now = JSON.stringify([transactions, wallet]);
      if (shown !== now) showSent(transactions, wallet);
      shown = now;
      if (transactions.every((each) => each.state !== "mined" && isOver(each))) return;
      await new Promise((wake) => setTimeout(wake, POLL_MS));
      if (!dialog.isConnected) return isDone || done?.(transactions);
      try {
        ({ transactions } = await money("transactions", { keys }));
      } catch { /* the node will say again */ }
    }
  }

  function showSent(transactions, wallet) {
    const back = button("Close", () => dialog.close(), { changes: false }), isMined = transactions.every((each) => MINED.includes(each.state));
    const news = isMined ? [wei !== null && ["Amount", `${openAmount(wei)} OPEN`, wei], wallet && ["Wallet now", `${openAmount(wallet.wallet_open_wei)} OPEN`, wallet.wallet_open_wei]].filter(Boolean) : [];
    heading.textContent = `${stateOf(transactions)}: ${title}`;
    put(body, sums([...transactions.map((each) => [each.summary, chip(each.state, BAD.includes(each.state) ? "bad" : MINED.includes(each.state) ? "ok" : "accent"), null, each.hash]), ...news]),
      isMined && next && h("p", {}, next), transactions.filter((each) => each.error).map((each) => note("bad", each.error)), h("div", { class: "buttons" }, back));
    back.focus();
  }

  function fail(why, word) {
    heading.textContent = title;
    const back = cancel(word);
    put(body, note("bad", why), h("div", { class: "buttons" }, back));
    back.focus();
  }

  plan();
  return dialog;
}

// What has become of all that was sent, in one or three words.
function stateOf(transactions) {
  const numMined = transactions.filter((each) => MINED.includes(each.state)).length;
  if (transactions.some((each) => BAD.includes(each.state))) return "Failed";
  if (transactions.every((each) => each.state === "final")) return "Final";
  if (numMined > 0) return `Mined ${numMined} of ${transactions.length}`;
  return transactions.every((each) => each.state === "sent") ? "Sent" : "Sending";
}

// What the plan says beside its cost.
const said = (found) => [...(found.note ?? "").split("\n"), ...(found.details ?? [])].filter(Boolean).map(coded);

// The button of what must not be done twice: off from the first click on, and saying so.
function once(word, meanwhile, act) {
  const go = button(word, () => { turn(go, true); go.textContent = meanwhile; act(); }, { kind: "primary" });
  return go;
}

const sums = (rows) =>
  h("table", { class: "sum" }, h("caption", { class: "unseen" }, "What it costs"),
    h("tbody", {}, rows.map(([name, value, wei, hash]) => h("tr", {}, h("th", { scope: "row" }, name, hash && h("small", {}, id(hash, 6))), h("td", { class: "num", title: wei ? `${wei} wei` : null }, value)))));
