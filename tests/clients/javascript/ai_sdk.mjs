// The AI SDK, with its provider for compatible APIs and, for responses, its provider for OpenAI.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { baseURL, check, checkFails, city, key, model, question } from "./driver.mjs";
import { run } from "./driver.mjs";

const settings = { name: "node", baseURL, apiKey: key, supportsStructuredOutputs: true };
const compatible = createOpenAICompatible(settings);
const weather = { description: "Weather of a city.", inputSchema: jsonSchema(city) };
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
    const tools = { weather: tool(weather) };
    const answer = await generateText({ ...asked, maxOutputTokens: 512, temperature: 0, tools, toolChoice: "required" });
    check("city" in answer.toolCalls[0].input);
  },
  async tool_stream() {
    const tools = { weather: tool(weather) };
    const answer = streamText({ ...asked, maxOutputTokens: 512, tools, toolChoice: "required" });
    check("city" in (await answer.toolCalls)[0].input);
  },
  async tool_result() {
    // The result goes back in a second step, where the model must not call again.
    const tools = { weather: tool({ ...weather, execute: async () => "Rain" }) };
    const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" });
    const answer = await generateText({ ...asked, maxOutputTokens: 64, tools, prepareStep, stopWhen: stepCountIs(2) });
    check(answer.steps.length === 2 && answer.steps[0].toolResults[0].output === "Rain");
  },
  async completion() {
    check((await generateText({ ...asked, model: compatible.completionModel(model) })).text);
  },
  async errors() {
    const stranger = createOpenAICompatible({ ...settings, apiKey: "no" });
    await checkFails(() => generateText({ ...asked, model: stranger(model) }), 401);
    await checkFails(() => generateText({ ...asked, model: compatible("none") }), 404);
  },
  async responses_tool() {
    const openai = createOpenAI({ baseURL, apiKey: key });
    const tools = { weather: tool(weather) };
    const answer = await generateText({ ...asked, model: openai(model), maxOutputTokens: 512, tools, toolChoice: "required" });
    check("city" in answer.toolCalls[0].input);
  },
  async responses() {
    const openai = createOpenAI({ baseURL, apiKey: key });
    check((await generateText({ ...asked, model: openai(model) })).text);
  },
});
