// Asking: one answer as it is written, from this node's own API, or bought by the guest of a development network.
import { fetchApi, Refused } from "./api.js";

// ask(body, {asGuest, signal, hear(part)}) → {tokens, tokensIn, finish, requestId, receipt, cut}; each is null where nobody
// says. A part is {text}, {reasoning}, {calls: [{index, name, arguments}]} or {loading}, the engine's progress as a sentence.
export const ask = (body, { asGuest, signal, hear }) => asGuest ? buy(body, signal, hear) : stream(body, signal, hear);

const nothing = () => ({ tokens: null, tokensIn: null, finish: null, requestId: null, receipt: null, cut: null });

async function stream(body, signal, hear) {
  const response = await fetchApi("POST", "/v1/chat/completions", { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  const found = nothing();
  for await (const line of lines(response)) {
    if (line.startsWith(":")) hear({ loading: line.slice(1).trim() });
    const content = line.startsWith("data: ") ? line.slice(6) : "";
    if (!content || content === "[DONE]") continue;
    const event = JSON.parse(content), { delta, finish_reason } = event.choices?.[0] ?? {};
    if (event.error) throw new Refused(event.error.message, 0, event.error.code);
    found.requestId ??= event.id?.startsWith("chatcmpl-") ? `0x${event.id.slice(9)}` : null;
    found.finish = finish_reason ?? found.finish;
    found.tokens = event.usage?.completion_tokens ?? found.tokens;
    found.tokensIn = event.usage?.prompt_tokens ?? found.tokensIn;
    if (delta?.reasoning_content) hear({ reasoning: delta.reasoning_content });
    if (delta?.tool_calls) hear({ calls: delta.tool_calls.map((each) => ({ index: each.index ?? 0, name: each.function?.name ?? "", arguments: each.function?.arguments ?? "" })) });
    if (delta?.content) hear({ text: delta.content });
  }
  return found;
}

// A guest's lines say no reason of the end: an answer of as many tokens as it may have was stopped there.
async function buy(body, signal, hear) {
  const response = await fetchApi("POST", "/operator/guest", body, signal);
  let last = {};
  for await (const line of lines(response)) {
    last = JSON.parse(line);
    if (last.error) throw new Refused(last.error.message, 0, last.error.code);
    if (last.text) hear({ text: last.text });
  }
  const work = last.receipt?.work, finish = work && (work.tokens_out >= body.max_tokens ? "length" : "stop");
  return { ...nothing(), tokens: work?.tokens_out ?? null, tokensIn: work?.tokens_in ?? null, finish: finish ?? null, requestId: work?.request_id ?? null, receipt: last.digest ?? null, cut: last.why_cut ?? null };
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const parts = rest.split("\n");
    rest = done ? "" : parts.pop();
    for (const part of parts) if (part.trim()) yield part.trim();
    if (done) return;
  }
}
