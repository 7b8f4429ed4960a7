// @langchain/openai.
import { ChatOpenAI } from "@langchain/openai";
import { check, city, baseURL, key, model, question, run, weather } from "./driver.mjs";

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
});
