// @anthropic-ai/sdk.
import Anthropic from "@anthropic-ai/sdk";
import { check, city, key, model, run, turns, url } from "./driver.mjs";

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
});
