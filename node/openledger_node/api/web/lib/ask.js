// Asking: one answer as it is written, from this node's own API, or bought by the guest of a development network.
import { fetchApi, Refused } from "./api.js";

// ask(body, {asGuest, signal, show(text)}) → {tokens, requestId, receipt, cut}; tokens and receipt are null where nobody says.
export async function ask(body, { asGuest, signal, show }) {
  return asGuest ? buy(body, signal, show) : stream(body, signal, show);
}

async function stream(body, signal, show) {
  const response = await fetchApi("POST", "/v1/chat/completions", { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  const found = { tokens: null, requestId: null, receipt: null, cut: null };
  for await (const line of lines(response)) {
    const content = line.replace(/^data: /, "");
    if (!content || content === "[DONE]" || content.startsWith(":")) continue; // a comment: the engine is loading
    const event = JSON.parse(content);
    if (event.error) throw new Refused(event.error.message, 0);
    found.requestId ??= event.id?.startsWith("chatcmpl-") ? `0x${event.id.slice(9)}` : null;
    found.tokens = event.usage?.completion_tokens ?? found.tokens;
    const text = event.choices?.[0]?.delta?.content;
    if (text) show(text);
  }
  return found;
}

async function buy(body, signal, show) {
  const response = await fetchApi("POST", "/operator/guest", body, signal);
  let last = {};
  for await (const line of lines(response)) {
    last = JSON.parse(line);
    if (last.error) throw new Refused(last.error.message, 0);
    if (last.text) show(last.text);
  }
  return { tokens: last.receipt?.work.tokens_out ?? null, requestId: last.receipt?.work.request_id ?? null, receipt: last.digest ?? null, cut: last.why_cut ?? null };
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
