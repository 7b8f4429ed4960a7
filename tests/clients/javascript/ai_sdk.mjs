// The AI SDK, with its provider for compatible APIs and, for responses, its provider for OpenAI.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";
import { baseURL, check, city, key, model, question, run } from "./driver.mjs";

const settings = { name: "node", baseURL, apiKey: key, supportsStructuredOutputs: true };
const compatible = createOpenAICompatible(settings);
const asked = { model: compatible(model), prompt: question, maxOutputTokens: 16, temperature: 0, maxRetries: 0 };

await run({
  async chat() {
    check((await generateText(asked)).text);
  },
  async stream() {
    let text = "";
    for await (const part of streamText(asked).textStream) text += part;
    check(text);
  },
  async structured() {
    const output = Output.object({ schema: jsonSchema(city) });
    check("city" in (await generateText({ ...asked, maxOutputTokens: 64, temperature: 0, output })).output);
  },
  async tool_call() {
    const tools = { weather: tool({ description: "Weather of a city.", inputSchema: jsonSchema(city) }) };
    const answer = await generateText({ ...asked, maxOutputTokens: 512, temperature: 0, tools, toolChoice: "required" });
    check("city" in answer.toolCalls[0].input);
  },
  async responses() {
    const openai = createOpenAI({ baseURL, apiKey: key });
    check((await generateText({ ...asked, model: openai(model) })).text);
  },
});
