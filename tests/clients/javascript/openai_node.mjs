// The npm package openai.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { baseURL, check, key, model, question, run, turns, weather } from "./driver.mjs";

const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0 });
const tools = [{ type: "function", function: weather }];

await run({
  async models() {
    const page = await client.models.list();
    check(page.data.some((each) => each.id === model));
  },
  async chat() {
    const answer = await client.chat.completions.create({ model, messages: turns, max_tokens: 16, temperature: 0 });
    check(answer.choices[0].message.content);
  },
  async stream() {
    let text = "";
    const events = await client.chat.completions.create({ model, messages: turns, max_tokens: 16, temperature: 0, stream: true });
    for await (const event of events) text += event.choices[0]?.delta?.content ?? "";
    check(text);
  },
  async structured() {
    const format = zodResponseFormat(z.object({ city: z.enum(["Oslo", "Rome"]) }), "city");
    const asked = { model, messages: turns, max_tokens: 64, temperature: 0, response_format: format };
    const answer = await client.chat.completions.parse(asked);
    check(typeof answer.choices[0].message.parsed.city === "string");
  },
  async tool_call() {
    const asked = { model, messages: turns, max_tokens: 512, temperature: 0, tools, tool_choice: "required" };
    const answer = await client.chat.completions.create(asked);
    check("city" in JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments));
  },
  async tool_stream() {
    const asked = { model, messages: turns, max_tokens: 512, temperature: 0, tools, tool_choice: "required", stream: true };
    const answer = await client.chat.completions.stream(asked).finalChatCompletion();
    check("city" in JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments));
  },
  async responses() {
    const events = await client.responses.create({ model, input: question, max_output_tokens: 16, temperature: 0, stream: true });
    const kinds = [];
    for await (const event of events) kinds.push(event.type);
    check(kinds[0] === "response.created" && /response\.(completed|incomplete)/.test(kinds.at(-1)), kinds.at(-1));
  },
});
