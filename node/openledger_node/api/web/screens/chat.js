// Chat: a conversation with the base, an adapter, or both beside each other, and who taught the adapter's answers.
import { fetchApi, get, money, Refused } from "../lib/api.js";
import { composer } from "../lib/composer.js";
import { addTurn, answersOf, conversation, dropLast, isAsking, keep, lookUp, startOver, stop, watch } from "../lib/conversation.js";
import { cliLine, quoted } from "../lib/cli.js";
import { h, part, put } from "../lib/dom.js";
import { latest, on } from "../lib/events.js";
import { count, open as openAmount, short, sum } from "../lib/format.js";
import { screenKeys } from "../lib/keys.js";
import { button, emptyState, note } from "../lib/parts.js";
import { NONE_CHOSEN, pickers } from "../lib/pickers.js";
import { setParams } from "../lib/route.js";
import { samplesOf } from "../lib/samples.js";
import { settingsForm } from "../lib/sampling.js";
import { speaker } from "../lib/speaker.js";
import { turnView } from "../lib/turn.js";

export const title = "Chat";

const LATER_MS = 4000, NEAR_PX = 48, GAP_PX = 12, TEMPLATE_TOKENS = 64;
const saveChat = () => import("../lib/save.js").then((saving) => saving.saveChat());
const WHERE = { in_memory: "warm here", loading: "loading here", on_disk: "on disk here", cold: "on disk here", refused: "refused here" };

export function mount(root, params) {
  const held = { models: null, library: [], states: new Map(), adapter: params.adapter ?? null, base: params.base ?? null, price: null, older: null, follows: true };
  const line = cliLine("chat"), about = h("p", {}, "Ask the base and an adapter, and see who taught the answer."), missing = h("div", { class: "missing" });
  const picked = pickers({ base: (name) => choose("base", name), adapter: (name) => choose("adapter", name) }), settings = settingsForm(draw);
  const thread = h("div", { class: "thread" }), welcome = part({ class: "welcome" }, "div"), speech = speaker();
  const views = [], field = composer({ send, stop, edit: editLast, startOver: begin, save: saveChat, newest: () => toEnd(true), typed: draw });
  const fresh = button("New chat", begin, { key: "new chat", changes: false }), save = button("Save…", saveChat, { key: "save", changes: false });
  root.className = "chat";
  root.append(h("div", { class: "head" }, h("div", {}, h("h1", {}, "Chat"), about), line),
    h("div", { class: "choices" }, picked.place, h("div", { class: "buttons" }, fresh, save)), settings.place, missing, welcome, thread, speech.place, field.place);

  // ---- what may be asked

  async function readModels() {
    try {
      const [models, listing, price] = await Promise.all([fetchApi("GET", "/v1/models").then((answer) => answer.json()), get("/adapters"), get("/price")]);
      Object.assign(held, { models: models.data, library: listing.adapters, price, states: new Map(listing.adapters.flatMap((each) => [[each.name, each.state], [each.full_name, each.state]])) });
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // the node is gone: the frame says so
    }
    draw();
  }

  const adapters = () => (held.models ?? []).filter((model) => model.parent).map((model) => model.id), bases = () => (held.models ?? []).filter((model) => !model.parent).map((model) => model.id);
  const isHere = (name) => adapters().includes(name);
  const isDevelopment = () => latest.state?.chain === "ok" && (latest.state.network ?? "").startsWith("development-") && latest.state.limits?.serve !== false;
  const pays = () => isDevelopment() && conversation.isGuest;

  // What each column is asked; a column without a model is not there.
  function models() {
    const adapter = held.adapter === NONE_CHOSEN ? null : held.adapter ?? adapters()[0] ?? null;
    const base = held.base === NONE_CHOSEN && adapter ? null : (held.base !== NONE_CHOSEN && held.base) || bases()[0] || latest.state?.base;
    return { base, adapter };
  }

  function choose(kind, name) {
    held[kind] = name;
    setParams({ base: held.base, adapter: held.adapter, receipt: held.older ? params.receipt : null });
    draw();
  }

  function draw() {
    const { base, adapter } = models(), isPaused = Boolean(latest.state?.paused), isLost = held.models && adapter && !isHere(adapter);
    picked.show({ bases: bases(), adapters: adapters().map((name) => [name, WHERE[held.states.get(name)] ?? (held.states.has(name) ? "here" : "on the network")]), base, adapter });
    put(missing, isLost && note("warn", `Nobody offers ${adapter} just now, and it is not on this machine. The base can be asked meanwhile.`, null, `adapters pull ${quoted(adapter)}`));
    settings.show({ isDevelopment: isDevelopment() });
    line.change(["chat", adapter && (base ? `--base-too ${quoted(adapter)}` : `--model ${quoted(adapter)}`), pays() && adapter && "--as-guest"].filter(Boolean).join(" "));
    const { turns } = conversation, isEmpty = !turns.length && !held.older;
    root.classList.toggle("begun", !isEmpty);
    fresh.hidden = isEmpty;
    save.hidden = !turns.length;
    welcome.hidden = !isEmpty;
    welcome.show({ hasModels: Boolean(held.models), hasBases: bases().length > 0, hasAdapters: adapters().length > 0, serves: latest.state?.limits?.serve !== false, loading: latest.state?.engine?.loading?.says ?? null, base, adapter, samples: samplesOf(held.library, adapter) }, drawWelcome);
    field.show({ isPaused, isAsking: isAsking(), about: words(adapter), canScroll: !held.follows && thread.childElementCount > 0, asks: base && adapter ? "Ask both" : `Ask ${base ?? adapter ?? "the base"}` });
  }

  function drawWelcome({ hasModels, hasBases, hasAdapters, serves, loading, base, adapter, samples }) {
    return [
      h("h2", {}, base && adapter ? `Ask ${base} and ${adapter}` : `Ask ${base ?? adapter ?? "the base"}`),
      h("ul", { class: "samples" }, samples.map((words) => h("li", {}, button(words, () => sample(words), { kind: "sample", key: `sample ${words}` })))),
      loading && note("", `${loading[0].toUpperCase()}${loading.slice(1)}. You can ask as soon as it is loaded.`),
      hasModels && !hasAdapters && (serves
        ? note("", "There is no adapter here yet, and nobody offers one, so only the base answers. The factory trains one in minutes.", h("a", { class: "button", href: "#/factory", dataset: { key: "open factory" } }, "Open the factory"), "factory train --sample --name harbour")
        : !hasBases && note("warn", "This node serves no model itself, and no peer offers one now. It looks again every 15 s.", h("a", { class: "button", href: "#/peers", dataset: { key: "open peers" } }, "See the peers"), "peers list")),
    ];
  }

  // A sample is sent at once where it costs nothing real; elsewhere the person sends it.
  function sample(words) {
    const { adapter } = models(), isFree = !adapter || pays() || held.states.has(adapter);
    if (isFree) send(words);
    else field.write(words);
  }

  function words(adapter) {
    const { maxTokens, system } = conversation.settings, answers = conversation.turns.flatMap(answersOf), contextMax = latest.state?.engine?.context_max;
    const known = conversation.turns.findLast((turn) => answersOf(turn).some((each) => each.used)), used = Math.max(0, ...(known ? answersOf(known) : []).map((each) => each.used ?? 0));
    const paid = answers.flatMap((each) => each.parts).map((each) => each.receipt?.amount_wei).filter(Boolean);
    const read = used + TEMPLATE_TOKENS + new TextEncoder().encode(conversation.draft + system).length; // no token is shorter than a byte
    const most = held.price && (BigInt(held.price.price_out_wei) * BigInt(maxTokens) + BigInt(held.price.price_in_wei) * BigInt(read)) / 1000n;
    return [
      pays() && adapter && held.price ? `Costs at most ${openAmount(most)} OPEN of play money`
        : isHere(adapter) && !held.states.has(adapter) ? "Paid to the node that answers, within [payer] request_max_wei" : "Free on this machine",
      paid.length > 0 && `${openAmount(sum(...paid))} OPEN paid so far`,
      used > 0 && contextMax && `${count(used)} of ${count(contextMax)} tokens of context`,
      "the node that answers can read your words",
    ].filter(Boolean).join(" · ");
  }

  // ---- turns

  // A question that is quicker than the list of models waits for it, so that both columns hear it.
  async function send(question) {
    await listed;
    const { base, adapter } = models();
    if (!base && !adapter) return field.write(question);
    if (held.older) closeOlder();
    held.follows = true;
    addTurn(question, { base: base && { model: base, asGuest: false }, adapter: adapter && isHere(adapter) ? { model: adapter, asGuest: pays() } : base ? null : { model: adapter, asGuest: pays() } });
    toEnd(true);
  }

  function editLast() {
    const last = conversation.turns.at(-1);
    if (!last || isAsking()) return;
    dropLast();
    field.write(last.question);
  }

  function begin() {
    if (held.older) closeOlder();
    held.follows = true;
    startOver();
    field.focus();
  }

  function drawThread() {
    const wanted = held.older ? [held.older] : conversation.turns;
    wanted.forEach((turn, n) => {
      if (views[n]?.shows(turn)) return;
      const view = turnView(turn, held.older ? { heading: turn.asked ?? ["The answer of receipt ", h("code", {}, short(turn.digest))] } : { edit: editLast });
      views[n]?.place.remove();
      thread.insertBefore(view.place, thread.children[n] ?? null);
      views[n] = view;
    });
    for (const gone of views.splice(wanted.length)) gone.place.remove();
    views.forEach((view, n) => view.setLast(n === views.length - 1));
  }

  // ---- what has changed, once for each frame

  const changed = new Set(), drawn = new WeakMap();
  let frame = 0;
  function heard(answer) {
    changed.add(answer);
    frame ||= requestAnimationFrame(drawChanged);
  }

  function drawChanged() {
    frame = 0;
    const answers = [...changed];
    changed.clear();
    if (answers.includes(null)) drawThread();
    for (const view of views) if (view === views.at(-1) || answers.some((answer) => view.has(answer))) view.draw();
    speech.hear(answers.filter(Boolean));
    if (answers.filter(hasGrown).length) toEnd();
    draw();
  }

  function hasGrown(answer) {
    const now = answer && `${answer.state} ${answer.text.length} ${answer.reasoning.length} ${answer.parts.some((each) => each.receipt)}`;
    if (!answer || drawn.get(answer) === now) return false;
    drawn.set(answer, now);
    return true;
  }

  // The end of the answers stays in view while they grow, unless the reader has scrolled away from it.
  const missed = () => views.length ? views.at(-1).end() + GAP_PX - field.place.getBoundingClientRect().top : 0;
  function toEnd(isWanted = false) {
    if (isWanted) held.follows = true;
    if (held.follows && missed() > 0) scrollBy(0, missed());
    draw();
  }
  function onScroll() {
    const follows = missed() <= NEAR_PX;
    if (follows === held.follows) return;
    held.follows = follows;
    draw();
  }

  // ---- an older answer, by its receipt

  async function openReceipt(digest) {
    try {
      const receipt = await money("receipt", { receipt: digest });
      held.older = { question: "", asked: receipt.question, digest: receipt.digest, answers: { adapter: {
        model: receipt.adapter ?? "Answer", text: receipt.answer ?? "", reasoning: "", calls: [], parts: [{ begin: 0, tokens: receipt.tokens_out, digest: receipt.digest, receipt }], state: "done", tokens: receipt.tokens_out,
        trouble: receipt.answer === null ? { kind: "gone", says: receipt.text.says } : null,
      } } };
      drawThread();
      draw();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      put(missing, emptyState({ where: "Chat · receipt", tone: "warn", title: "This receipt can't be shown", text: error.message, words: "attribution show" }));
    }
  }

  function closeOlder() {
    held.older = null;
    params.receipt = null;
    setParams({ base: held.base, adapter: held.adapter });
    drawThread();
  }

  const panel = () => views.findLast((view) => view.panel())?.panel();
  let wasAsked = 0, refreshed = 0;
  const listed = readModels();
  const stops = [
    watch(heard),
    on("state", (status) => { if (params.receipt && status.chain === "ok" && !held.older && !wasAsked++) openReceipt(params.receipt); draw(); }),
    on("money", () => { if (!isAsking() && Date.now() - refreshed > LATER_MS) { refreshed = Date.now(); refresh(); } }),
    screenKeys({
      "[": () => panel()?.move(-1), "]": () => panel()?.move(1), 0: () => panel()?.letGo(), Escape: () => isAsking() ? stop() : panel()?.letGo(),
      ...Object.fromEntries([1, 2, 3, 4].map((n) => [n, () => panel()?.number(n)])),
    }),
  ];
  async function refresh() {
    const last = held.older ?? conversation.turns.at(-1);
    for (const answer of last ? answersOf(last) : []) if (answer.parts.some((each) => each.receipt)) await lookUp(answer);
  }
  drawThread();
  const timer = setInterval(readModels, 15e3);
  addEventListener("scroll", onScroll, { passive: true });
  if (conversation.turns.length && !params.receipt) requestAnimationFrame(() => toEnd(true));
  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    removeEventListener("scroll", onScroll);
    stops.forEach((stopOne) => stopOne());
    keep();
  };
}
