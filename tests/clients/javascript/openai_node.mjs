// The npm package openai.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { baseURL, calledWeather, check, checkFails, city } from "./driver.mjs";
import { key, model, question, run, turns, weather } from "./driver.mjs";

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
  async completion() {
    const answer = await client.completions.create({ model, prompt: ["One, two,", "Red, green,"], max_tokens: 8, temperature: 0 });
    check(answer.choices.length === 2);
  },
  async several() {
    const answer = await client.chat.completions.create({ model, messages: turns, max_tokens: 8, n: 3, seed: 1 });
    check(answer.choices.length === 3);
  },
  async logprobs() {
    const asked = { model, messages: turns, max_tokens: 4, temperature: 0, logprobs: true, top_logprobs: 2 };
    const answer = await client.chat.completions.create(asked);
    check(answer.choices[0].logprobs.content[0].top_logprobs.length === 2);
  },
  async tool_result() {
    const called = { role: "assistant", content: null, tool_calls: [calledWeather] };
    const messages = [...turns, called, { role: "tool", tool_call_id: calledWeather.id, content: "Rain" }];
    const answer = await client.chat.completions.create({ model, messages, max_tokens: 16, temperature: 0, tools });
    check(answer.choices[0].finish_reason);
  },
  async responses_tool() {
    const tool = { type: "function", name: "weather", description: "Weather of a city.", parameters: city };
    const asked = { model, input: question, tools: [tool], tool_choice: "required", max_output_tokens: 512, temperature: 0 };
    const call = (await client.responses.create(asked)).output.find((item) => item.type === "function_call");
    check("city" in JSON.parse(call.arguments));
  },
  async errors() {
    await checkFails(() => new OpenAI({ baseURL, apiKey: "no", maxRetries: 0 }).models.list(), 401);
    await checkFails(() => client.chat.completions.create({ model: "none", messages: turns }), 404);
  },
  async responses() {
    const events = await client.responses.create({ model, input: question, max_output_tokens: 16, temperature: 0, stream: true });
    const kinds = [];
    for await (const event of events) kinds.push(event.type);
    check(kinds[0] === "response.created" && /response\.(completed|incomplete)/.test(kinds.at(-1)), kinds.at(-1));
  },
});
