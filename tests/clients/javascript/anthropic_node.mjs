// @anthropic-ai/sdk.
import Anthropic from "@anthropic-ai/sdk";
import { check, checkFails, city, key, model, run, turns, url } from "./driver.mjs";

const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const tools = [{ name: "weather", description: "Weather of a city.", input_schema: city }];

await run({
  async chat() {
    const answer = await client.messages.create({ model, max_tokens: 16, temperature: 0, messages: turns });
    check(answer.content[0].text);
  },
  async stream() {
    const answer = await client.messages.stream({ model, max_tokens: 16, temperature: 0, messages: turns }).finalMessage();
    check(answer.content[0].text);
  },
  async count() {
    check((await client.messages.countTokens({ model, messages: turns })).input_tokens > 3);
  },
  async tool_call() {
    const asked = { model, max_tokens: 512, temperature: 0, messages: turns, tools, tool_choice: { type: "any" } };
    check("city" in (await client.messages.create(asked)).content.at(-1).input);
  },
  async tool_stream() {
    const choice = { type: "tool", name: "weather" };
    const asked = { model, max_tokens: 512, temperature: 0, messages: turns, tools, tool_choice: choice };
    check("city" in (await client.messages.stream(asked).finalMessage()).content.at(-1).input);
  },
  async tool_result() {
    const called = { type: "tool_use", id: "t1", name: "weather", input: { city: "Oslo" } };
    const result = { type: "tool_result", tool_use_id: "t1", content: "Rain" };
    const messages = [...turns, { role: "assistant", content: [called] }, { role: "user", content: [result] }];
    check((await client.messages.create({ model, max_tokens: 16, temperature: 0, messages, tools })).stop_reason);
  },
  async errors() {
    const stranger = new Anthropic({ baseURL: url, apiKey: "no", maxRetries: 0 });
    await checkFails(() => stranger.messages.create({ model, max_tokens: 4, messages: turns }), 401);
    await checkFails(() => client.messages.create({ model: "none", max_tokens: 4, messages: turns }), 404);
  },
});
