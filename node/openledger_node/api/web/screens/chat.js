// Chat: the base and an adapter are asked the same thing at once, and below stands who taught the answer.
import { fetchApi, get, money, Refused } from "../lib/api.js";
import { ask } from "../lib/ask.js";
import { attributionPanel, noReceipt } from "../lib/attribution.js";
import { cliLine, quoted } from "../lib/cli.js";
import { clean, h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { count, decimal, open as openAmount, short } from "../lib/format.js";
import { screenKeys } from "../lib/keys.js";
import { marked, spanMark, whole } from "../lib/marked.js";
import { button, emptyState, note } from "../lib/parts.js";
import { setParams } from "../lib/route.js";

export const title = "Chat";

const TOKENS_MAX = 256, SEED = 0, LATER_MS = 4000;
const WHERE = { in_memory: "warm here", loading: "loading here", on_disk: "on disk here", cold: "on disk here", refused: "refused here" };
const WORDS = { placeholder: "Ask both", privacy: "the node that answers can read your words" };

export function mount(root, params) {
  const held = { models: null, states: new Map(), adapter: params.adapter ?? null, base: params.base ?? null, question: null, receipt: null, asking: null, numAsked: 0, price: null, isGuest: true };
  const line = cliLine("chat"), pickers = part({ class: "pickers" }, "div"), heard = h("h2", { class: "question" }), missing = h("div", { class: "missing" });
  const base = column("base"), adapter = column("adapter"), taught = attributionPanel(adapter.text);
  const below = h("div", {}), about = h("p", { class: "note12" }), field = h("textarea", { rows: "1", id: "question", placeholder: WORDS.placeholder, "aria-label": "Your question", onkeydown: (event) => { if (event.key === "Enter" && event.ctrlKey) { event.preventDefault(); send(); } } });
  const go = button("Send", () => held.asking ? held.asking.abort() : send(), { kind: "primary", key: "send" });
  root.append(h("div", { class: "head" }, h("div", {}, h("h1", {}, "Chat"), h("p", {}, "Ask the base and an adapter the same thing, and see who taught the answer.")), line),
    pickers, missing, heard, h("div", { class: "columns" }, base.place, adapter.place), below,
    h("section", { class: "panel composer", "aria-label": "Your question" }, h("div", { class: "asks" }, field, go), h("div", { class: "between" }, about, h("kbd", {}, "Ctrl ↵"))));

  // ---- what may be asked

  async function readModels() {
    try {
      const [models, listing, price] = await Promise.all([fetchApi("GET", "/v1/models").then((answer) => answer.json()), get("/adapters"), get("/price")]);
      held.models = models.data;
      held.states = new Map(listing.adapters.flatMap((each) => [[each.name, each.state], [each.full_name, each.state]]));
      held.price = price;
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // the node is gone: the frame says so
    }
    draw();
  }

  const adapters = () => (held.models ?? []).filter((model) => model.parent), bases = () => (held.models ?? []).filter((model) => !model.parent);
  const chosen = () => held.adapter ?? adapters()[0]?.id ?? null, isHere = (name) => adapters().some((model) => model.id === name);
  const canPay = () => latest.state?.chain === "ok" && (latest.state.network ?? "").startsWith("development-") && latest.state.limits?.serve !== false;
  const pays = () => canPay() && held.isGuest;

  function draw() {
    const facts = { bases: bases().map((model) => model.id), adapters: adapters().map((model) => [model.id, WHERE[held.states.get(model.id)] ?? (held.states.has(model.id) ? "here" : "on the network")]), base: held.base, adapter: chosen(), canPay: canPay(), isGuest: held.isGuest };
    pickers.show(facts, drawPickers);
    const wanted = chosen();
    put(missing, held.models && wanted && !isHere(wanted) ? note("warn", `Nobody offers ${wanted} just now, and it is not on this machine. The base can be asked meanwhile.`, null, `adapters pull ${quoted(wanted)}`)
      : held.models && !adapters().length ? note("", "There is no adapter here yet, and nobody offers one: only the base can be asked. The factory makes one.", h("a", { class: "button", href: "#/factory", dataset: { key: "open factory" } }, "Open the factory"), "factory train --sample --name harbour") : null);
    line.change(["chat", wanted && `--base-too ${quoted(wanted)}`, pays() && wanted && "--as-guest"].filter(Boolean).join(" "));
    base.name(`${bases()[0]?.id ?? latest.state?.base ?? "Base"} alone`);
    adapter.name(wanted ?? "No adapter");
    put(about, words());
  }

  function drawPickers(facts) {
    const pick = (id, label, options, value, change) => h("div", { class: "field" }, h("label", { for: id }, label), h("select", { id, dataset: { key: id }, disabled: options.length < 1, onchange: (event) => change(event.target.value) }, options.map(([name, text]) => h("option", { value: name, selected: name === value }, text))));
    const guest = h("input", { type: "checkbox", id: "guest", dataset: { key: "guest" }, checked: facts.isGuest, onchange: () => { held.isGuest = guest.checked; draw(); } });
    return [
      pick("base", "Base", facts.bases.map((name) => [name, name]), facts.base ?? facts.bases[0], (name) => { held.base = name; keep(); draw(); }),
      pick("adapter", "Adapter", facts.adapters.length ? [...(facts.adapter && !facts.adapters.some(([name]) => name === facts.adapter) ? [[facts.adapter, `${facts.adapter} — missing`]] : []), ...facts.adapters.map(([name, where]) => [name, `${name} — ${where}`])] : [["", "none"]], facts.adapter, (name) => { held.adapter = name; keep(); draw(); }),
      h("div", { class: "note12" }, h("div", {}, "same seed, temperature 0 · nothing is stored unless you save it"), facts.canPay && h("label", { for: "guest" }, guest, " a guest pays for the adapter’s answer, so that a receipt says who taught it")),
    ];
  }

  const keep = () => setParams({ base: held.base, adapter: held.adapter, receipt: held.receipt?.digest && params.receipt ? held.receipt.digest : null });

  function words() {
    const parts = [];
    if (pays() && held.price) parts.push(`At most ${openAmount(BigInt(held.price.price_out_wei) * BigInt(TOKENS_MAX) / 1000n)} OPEN for ${TOKENS_MAX} tokens and ${openAmount(held.price.price_in_wei)} for each 1,000 of your question, in money of the development chain`);
    else parts.push(isHere(chosen()) && !held.states.has(chosen()) ? `${TOKENS_MAX} tokens at most, paid to the node that answers, within [payer] request_max_wei` : `${TOKENS_MAX} tokens at most, free on this machine`);
    return [...parts, WORDS.privacy].join(" · ");
  }

  // ---- asking

  async function send() {
    const question = field.value.trim();
    if (!question || held.asking) return;
    field.value = "";
    held.question = question;
    await run();
  }

  async function run() {
    put(heard, whole(held.question));
    taught.show(null);
    put(below);
    held.receipt = null;
    const [, found] = await Promise.all([askBase(), askAdapter()]);
    if (found) await look(found);
  }

  // Each column can be asked again alone, while the other still writes.
  const askBase = () => askColumn(base, held.base ?? bases()[0]?.id ?? latest.state?.base, false, askBase);

  function askAdapter() {
    const wanted = chosen();
    if (wanted && isHere(wanted)) return askColumn(adapter, wanted, pays(), async () => { const found = await askAdapter(); if (found) await look(found); });
    adapter.none(wanted ? `${wanted} is not here` : "No adapter to ask");
    return null;
  }

  // "Stop" stops whatever is asked; it is "Send" again once the last column has ended.
  async function askColumn(where, model, asGuest, again) {
    held.asking ??= new AbortController();
    held.numAsked += 1;
    go.textContent = "Stop";
    const body = { messages: [{ role: "user", content: held.question }], temperature: 0, seed: SEED, max_tokens: TOKENS_MAX, model };
    const found = await where.ask(body, { asGuest, signal: held.asking.signal, again });
    held.numAsked -= 1;
    if (held.numAsked) return found;
    held.asking = null;
    go.textContent = "Send";
    return found;
  }

  async function look(found) {
    if (latest.state?.chain !== "ok") return put(below, latest.state?.chain === null ? noReceipt("This machine is on no network, so no money moves and no receipt says who taught the answer. Chat still works.") : noReceipt("The chain does not answer now. The answer is shown; its receipt becomes available when the chain is back."));
    let digest = found.receipt;
    try {
      digest ??= (await money("receipts", { limit: 20 })).receipts.find((each) => each.request_id === found.requestId)?.digest;
      if (!digest) return put(below, noReceipt("Who taught an answer is said by a receipt, and a receipt is made where somebody pays: another node, or on a development network the guest."));
      await show(digest);
    } catch (error) {
      put(below, note("bad", `The receipt can't be looked at: ${error.message}`));
    }
  }

  // Show a receipt's answer marked, and who taught it. Figures change in place; a text that is deleted meanwhile stays here.
  async function show(digest) {
    const now = await money("receipt", { receipt: digest }), before = held.receipt?.digest === now.digest ? held.receipt : null;
    if (now.answer === null && before?.answer) {
      now.answer = before.answer;
      for (const name of ["rows", "spans", "question_spans", "tokens", "tokens_matched", "why_no_rows"]) now.teaching[name] = before.teaching[name];
    }
    if (JSON.stringify(now) === JSON.stringify(before)) return;
    held.receipt = now;
    if (now.answer !== null && JSON.stringify(now.teaching.spans) !== JSON.stringify(before?.teaching.spans)) {
      adapter.mark(marked(now.answer, now.teaching.spans, (text, span, n) => spanMark(text, span, n, () => taught.press(n), (isOver) => taught.hover(n, isOver))));
      if (held.question) put(heard, marked(held.question, now.teaching.question_spans, (text, span) => h("mark", { class: "mark thin", dataset: { person: span.number }, title: "these words stand in a row, too, and count in its score" }, document.createTextNode(text))));
    }
    if (!below.contains(taught.place)) put(below, taught.place);
    taught.show(now);
  }

  async function openReceipt(digest) {
    try {
      await show(digest);
      const { receipt } = held;
      put(heard, held.question ? heard.textContent : ["The answer of receipt ", h("code", {}, short(receipt.digest))]);
      base.none("Not asked: an older answer is shown beside.");
      if (receipt.answer === null) adapter.none("Its text was deleted, as always when a claim is final. Shares and amounts stay.");
      adapter.figures(`${count(receipt.tokens_out)} tokens · paid ${openAmount(receipt.amount_wei)} OPEN`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      put(below, emptyState({ where: "Chat · receipt", tone: "warn", title: "This receipt can't be shown", text: error.message, words: "attribution show" }));
    }
  }

  let wasAsked = 0;
  const stops = [
    on("state", (status) => { if (params.receipt && status.chain === "ok" && !held.receipt && !wasAsked++) openReceipt(params.receipt); draw(); }),
    on("money", () => { if (held.receipt && !held.asking && Date.now() - wasAsked > LATER_MS) { wasAsked = Date.now(); show(held.receipt.digest).catch(() => null); } }),
    screenKeys({
      "[": () => taught.move(-1), "]": () => taught.move(1), Escape: () => taught.letGo(), 0: () => taught.letGo(),
      ...Object.fromEntries([1, 2, 3, 4].map((n) => [n, () => taught.number(n)])),
    }),
  ];
  readModels();
  const timer = setInterval(readModels, 15e3);
  return () => { clearInterval(timer); held.asking?.abort(); stops.forEach((stop) => stop()); };
}

// One column: its head, and a text that grows.
function column(kind) {
  const name = h("h2", {}), speed = h("span", { class: "note12 figures" }), text = h("div", { class: `answer ${kind}` }), trouble = h("div", {});
  const place = h("section", { class: "panel", "aria-label": kind === "base" ? "The base’s answer" : "The adapter’s answer" }, h("header", {}, name, speed), text, trouble);
  text.append(h("span", { class: "dim" }, "Nothing asked yet."));
  const made = {
    place, text,
    name: (given) => { name.textContent = clean(given); },
    figures: (given) => { speed.textContent = given; },
    none: (why) => { put(text, h("span", { class: "dim" }, why)); put(trouble); speed.textContent = ""; },
    mark: (parts) => put(text, parts),
    async ask(body, { asGuest, signal, again }) {
      const began = performance.now(), all = [];
      let first = null, shown = document.createTextNode("");
      put(text, shown);
      put(trouble);
      speed.textContent = "waits for its first token";
      const say = (tokens, end) => {
        const took = (end - first) / 1000, rate = took > 0 && tokens > 1 ? ` · ${decimal((tokens - 1) / took, 0)} tokens/s` : "";
        speed.textContent = first === null ? `${count(tokens)} tokens` : `${count(tokens)} tokens · ${decimal((first - began) / 1000, 2)} s to first${rate}`;
      };
      const grow = (piece) => {
        first ??= performance.now();
        all.push(piece);
        shown.data = clean(all.join(""), 1e6);
        say(all.length, performance.now());
      };
      const finish = async (asGuestNow) => {
        const found = await ask(body, { asGuest: asGuestNow, signal, show: grow });
        say(found.tokens ?? all.length, performance.now());
        if (found.cut) put(trouble, note("warn", `Cut short: ${found.cut}`));
        if (!all.length) put(text, h("span", { class: "dim" }, "An empty answer."));
        return found;
      };
      try {
        return await finish(asGuest);
      } catch (error) {
        if (error.name === "AbortError") { speed.textContent += asGuest ? " · stopped here; the guest buys it to its end" : " · stopped"; return null; }
        if (asGuest && error instanceof Refused && !all.length && error.status === 0) {
          put(trouble, note("warn", `The guest could not buy it: ${error.message}. It is asked for free, and leaves no receipt.`));
          try { return await finish(false); } catch (second) { return fail(second); }
        }
        return fail(error);
      }
      function fail(error) {
        if (error.name === "AbortError") return null;
        if (!all.length) { put(text); speed.textContent = ""; }
        const why = error instanceof Refused ? error.message : "the node went away in the middle";
        put(trouble, note(error.status === 429 || error.status === 503 ? "warn" : "bad", `${error.status === 429 || error.status === 503 ? "The engine is busy" : "No answer"}: ${why}.`.replace("..", "."), button("Ask again", again)));
        return null;
      }
    },
  };
  return made;
}
