// @langchain/openai.
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { baseURL, check, checkFails, city, key, model, question } from "./driver.mjs";
import { run, weather } from "./driver.mjs";

const settings = { model, apiKey: key, maxRetries: 0, configuration: { baseURL } };
const short = new ChatOpenAI({ ...settings, maxTokens: 16, temperature: 0 });
const longer = new ChatOpenAI({ ...settings, maxTokens: 512, temperature: 0 });

await run({
  async chat() {
    check((await short.invoke(question)).content);
  },
  async stream() {
    let text = "";
    for await (const part of await short.stream(question)) text += part.content;
    check(text);
  },
  async structured() {
    const asked = longer.withStructuredOutput(city, { method: "jsonSchema", name: "city" });
    check("city" in (await asked.invoke(question)));
  },
  async tool_call() {
    const asked = longer.bindTools([{ type: "function", function: weather }], { tool_choice: "required" });
    check("city" in (await asked.invoke(question)).tool_calls[0].args);
  },
  async tool_stream() {
    const asked = longer.bindTools([{ type: "function", function: weather }], { tool_choice: "required" });
    let whole;
    for await (const part of await asked.stream(question)) whole = whole ? whole.concat(part) : part;
    check("city" in whole.tool_calls[0].args);
  },
  async tool_result() {
    const call = { name: "weather", args: { city: "Oslo" }, id: "call_1", type: "tool_call" };
    const called = { role: "assistant", content: "", tool_calls: [call] };
    const turns = [{ role: "user", content: question }, called, { role: "tool", tool_call_id: "call_1", content: "Rain" }];
    const asked = short.bindTools([{ type: "function", function: weather }]);
    check((await asked.invoke(turns)).response_metadata.finish_reason);
  },
  async completion() {
    check(await new OpenAI({ ...settings, maxTokens: 8, temperature: 0 }).invoke("One, two,"));
  },
  async logprobs() {
    const asked = new ChatOpenAI({ ...settings, maxTokens: 4, temperature: 0, logprobs: true, topLogprobs: 2 });
    check((await asked.invoke(question)).response_metadata.logprobs.content[0].top_logprobs.length === 2);
  },
  async responses() {
    const asked = new ChatOpenAI({ ...settings, maxTokens: 16, temperature: 0, useResponsesApi: true });
    check((await asked.invoke(question)).content.length);
  },
  async errors() {
    await checkFails(() => new ChatOpenAI({ ...settings, apiKey: "no" }).invoke(question), 401);
    await checkFails(() => new ChatOpenAI({ ...settings, model: "none" }).invoke(question), 404);
  },
});
