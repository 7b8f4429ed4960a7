// The conversation of this tab: its turns, the asking of each answer, and what the tab keeps of it until it is closed.
// Asking goes on while another screen is shown. The node stores none of it.
import { money, post, Refused } from "./api.js";
import { ask } from "./ask.js";
import { latest, poll } from "./events.js";

const KEPT = "openledger-chat", LOADING_MS = 1000, RECEIPTS_KEPT_MAX = 1e6;
export const COLUMNS = ["base", "adapter"];
export const DEFAULTS = { system: "", temperature: 0, maxTokens: 512, seed: 0 };
export const answersOf = (turn) => COLUMNS.map((kind) => turn.answers[kind]).filter(Boolean);
export const AGAIN_TEMPERATURE = 0.7; // another answer of a greedy model needs chance

// turns: [{question, answers: {base, adapter}}]. An answer: {model, text, reasoning, calls, parts, state, …}; a part is what one
// request wrote: {begin, tokens, digest, receipt}; it begins at a place in the text, in characters. States: asking, loading, writing, done, stopped, failed.
export const conversation = { turns: [], settings: { ...DEFAULTS }, isGuest: true, draft: "", ...kept() };
const watchers = new Set(), asked = new Map(); // answer → what aborts it

// Hear of each answer that changes, and of turns that come and go (null). Returns how to stop.
export function watch(hear) {
  watchers.add(hear);
  return () => watchers.delete(hear);
}
const tell = (answer) => watchers.forEach((hear) => hear(answer));

export const isAsking = () => asked.size > 0;
export const isAsked = (answer) => asked.has(answer);

// ---- turns

export function addTurn(question, models) {
  const turn = { question, answers: {} };
  conversation.turns.push(turn);
  for (const kind of COLUMNS) if (models[kind]) turn.answers[kind] = fresh(models[kind]);
  tell(null);
  for (const kind of COLUMNS) if (models[kind]) run(turn, kind);
  keep();
}

export function dropLast() {
  conversation.turns.pop();
  tell(null);
  keep();
}

export function startOver() {
  stop();
  conversation.turns = [];
  tell(null);
  keep();
}

export function stop() {
  for (const control of asked.values()) control.abort();
}

const fresh = ({ model, asGuest }) => ({ model, asGuest, text: "", reasoning: "", calls: [], parts: [], state: "asking", attempt: 0 });

// Ask one column of the last turn again: after a failure the same, else for another answer.
export function askAgain(turn, kind, { isAnother = false } = {}) {
  const { model, asGuest, attempt } = turn.answers[kind];
  turn.answers[kind] = { ...fresh({ model, asGuest }), attempt: attempt + isAnother };
  tell(null);
  return run(turn, kind);
}

// What a column has heard so far; where it was not asked, what the other one answered.
function messagesFor(turn, kind) {
  const { turns, settings } = conversation, messages = settings.system.trim() ? [{ role: "system", content: settings.system.trim() }] : [];
  for (const each of turns.slice(0, turns.indexOf(turn))) {
    const text = each.answers[kind]?.text || answersOf(each).find((answer) => answer.text)?.text;
    if (text && each.question) messages.push({ role: "user", content: each.question }, { role: "assistant", content: text });
  }
  return [...messages, { role: "user", content: turn.question }];
}

function bodyFor(turn, kind, answer) {
  const { temperature, maxTokens, seed } = conversation.settings, messages = messagesFor(turn, kind);
  const more = answer.text ? { continue_final_message: true } : {};
  if (answer.text) messages.push({ role: "assistant", content: answer.text });
  answer.temperature = answer.attempt && !temperature ? AGAIN_TEMPERATURE : temperature;
  answer.seed = seed + answer.attempt;
  return { model: answer.model, messages, temperature: answer.temperature, seed: answer.seed, max_tokens: maxTokens, ...more };
}

// ---- one answer

// Ask for an answer, or for more of one that was cut off.
export async function run(turn, kind) {
  const answer = turn.answers[kind], control = new AbortController(), began = performance.now();
  const body = bodyFor(turn, kind, answer), part = { begin: [...answer.text].length, receipt: null };
  const pace = { first: null, tokens: 0 }, before = answer.parts.reduce((all, each) => all + each.tokens, 0);
  asked.set(answer, control);
  Object.assign(answer, { state: "asking", trouble: null, finish: null, cut: null, says: null, firstMs: null, rate: null });
  const hear = (heard) => {
    if (heard.loading !== undefined) Object.assign(answer, { state: "loading", says: heard.loading });
    else {
      pace.first ??= performance.now();
      pace.tokens += 1;
      answer.state = "writing";
      take(answer, heard, began);
      const tookS = (performance.now() - pace.first) / 1000;
      Object.assign(answer, { tokens: before + pace.tokens, firstMs: pace.first - began, rate: tookS > 0 ? (pace.tokens - 1) / tookS : null });
    }
    tell(answer);
  };
  tell(answer);
  try {
    const found = await askPatiently(answer, body, { signal: control.signal, hear, hasHeard: () => pace.tokens > 0 });
    const tookS = (performance.now() - (pace.first ?? began)) / 1000, tokens = found.tokens ?? pace.tokens;
    Object.assign(answer, { state: "done", finish: found.finish, cut: found.cut, tokens: before + tokens, tokensIn: found.tokensIn, used: found.tokensIn && found.tokensIn + tokens, maxTokens: body.max_tokens, rate: tookS > 0 && tokens > 1 ? (tokens - 1) / tookS : null });
    answer.parts.push({ ...part, tokens, digest: found.receipt, requestId: found.requestId });
  } catch (error) {
    answer.parts.push({ ...part, tokens: pace.tokens, digest: null, requestId: null });
    if (error.name === "AbortError") answer.state = "stopped";
    else Object.assign(answer, { state: "failed", trouble: troubleOf(error) });
  }
  asked.delete(answer);
  tell(answer);
  if (answer.state === "done") await lookUp(answer);
  keep();
}

function take(answer, heard, began) {
  if (heard.text) {
    if (answer.reasoning && !answer.text) answer.thoughtMs ??= performance.now() - began;
    answer.text += heard.text;
  }
  if (heard.reasoning) answer.reasoning += heard.reasoning;
  for (const { index, name, arguments: more } of heard.calls ?? []) {
    const call = (answer.calls[index] ??= { name: "", arguments: "" });
    call.name += name;
    call.arguments += more;
  }
}

// An engine that loads is waited for; what a guest can't buy is asked for free.
async function askPatiently(answer, body, { signal, hear, hasHeard }) {
  let asGuest = answer.asGuest;
  for (;;) {
    try {
      return await ask(body, { asGuest, signal, hear });
    } catch (error) {
      if (error.name === "AbortError" || !(error instanceof Refused) || hasHeard()) throw error;
      if (isLoading(error)) {
        hear({ loading: "the engine is loading the base" });
        await pause(LOADING_MS, signal);
      } else if (asGuest && error.status === 0 && !isPaused(error)) {
        answer.says = `The guest could not buy it: ${error.message}. It was asked for free, and leaves no receipt.`;
        asGuest = false;
      } else throw error;
    }
  }
}

const isLoading = (error) => error.status === 503 && (latest.state?.state === "starting" || /still loading/.test(error.message));
const isPaused = (error) => Boolean(latest.state?.paused) || /paused/.test(error.message);

const pause = (ms, signal) => new Promise((wake, fail) => {
  const timer = setTimeout(wake, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); fail(new DOMException("stopped", "AbortError")); }, { once: true });
});

// Why an answer did not come: {kind, says}. Kinds: paused, room, busy, gone, refused.
function troubleOf(error) {
  if (!(error instanceof Refused)) return { kind: "gone", says: "The node went away in the middle of the answer." };
  if (error.code === "context_length_exceeded") return { kind: "room", says: error.message };
  if (isPaused(error)) return { kind: "paused", says: "The node is paused." };
  return { kind: error.status === 429 || error.status === 503 ? "busy" : "refused", says: error.message };
}

export async function resume() {
  await post("/resume");
  poll();
}

// ---- receipts

// Look for the receipt of each part, as soon as the answer has ended.
export async function lookUp(answer) {
  const { state } = latest;
  if (state?.chain !== "ok") return say(answer, state?.chain === null ? "This machine is on no network, so no money moves and no receipt says who taught the answer." : "The chain does not answer now. The receipt becomes available when the chain is back.");
  try {
    for (const part of answer.parts) {
      if (part.requestId) part.digest ??= (await money("receipts", { limit: 20 })).receipts.find((each) => each.request_id === part.requestId)?.digest ?? null;
      if (part.digest) part.receipt = merged(await money("receipt", { receipt: part.digest }), part.receipt);
    }
    say(answer, answer.parts.some((part) => part.receipt) ? null : "Your own requests are free and leave no receipt, so nothing says who taught this answer.");
  } catch (error) {
    say(answer, `The receipt can't be looked at: ${error.message}`);
  }
}

function say(answer, why) {
  answer.noReceipt = why;
  tell(answer);
}

// Figures change; a text that was deleted meanwhile stays here.
function merged(now, before) {
  if (now.answer !== null || !before?.answer) return now;
  const { rows, spans, question_spans, tokens, tokens_matched, why_no_rows } = before.teaching;
  const people = now.teaching.people.map((each, n) => ({ ...each, rows: before.teaching.people[n]?.rows ?? null }));
  return { ...now, answer: before.answer, teaching: { ...now.teaching, people, rows, spans, question_spans, tokens, tokens_matched, why_no_rows } };
}

// ---- what the tab keeps

export function keep() {
  const { turns, ...rest } = conversation, content = (hasReceipts) => JSON.stringify({ ...rest, turns: turns.map((turn) => ({ ...turn, answers: Object.fromEntries(Object.entries(turn.answers).map(([kind, answer]) => [kind, slim(answer, hasReceipts)])) })) });
  try {
    const whole = content(true);
    sessionStorage.setItem(KEPT, whole.length < RECEIPTS_KEPT_MAX ? whole : content(false));
  } catch { /* the tab has no room: the conversation stays as long as the page */ }
}

const slim = (answer, hasReceipts) => ({ ...answer, parts: answer.parts.map((part) => hasReceipts ? part : { ...part, receipt: null }) });

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    for (const answer of (found.turns ?? []).flatMap(answersOf)) if (["asking", "loading", "writing"].includes(answer.state)) answer.state = "stopped";
    return found;
  } catch {
    return {};
  }
}
addEventListener("pagehide", keep);

// ---- saving it as a file

export const asJson = () => JSON.stringify({
  settings: conversation.settings,
  turns: conversation.turns.map((turn) => ({ question: turn.question, answers: answersOf(turn).map(({ model, text, reasoning, calls, finish, tokens, tokensIn, temperature, seed, parts }) => ({ model, text, reasoning, calls, finish, tokens, tokens_in: tokensIn, temperature, seed, receipts: parts.map((part) => part.digest).filter(Boolean) })) })),
}, null, 2);

export function asMarkdown() {
  const { system } = conversation.settings, parts = system.trim() ? [`**System**\n\n${system.trim()}`] : [];
  for (const turn of conversation.turns) parts.push(`**You**\n\n${turn.question}`, ...answersOf(turn).map((answer) => `**${answer.model}**\n\n${answer.text}`));
  return `${parts.join("\n\n---\n\n")}\n`;
}
