// Run one client's features against a node, and print what came of each as one JSON object.

export const url = process.env.NODE_URL;
export const baseURL = `${url}/v1`;
export const key = process.env.NODE_KEY;
export const model = process.env.NODE_MODEL;
export const question = "Name three colours.";
export const turns = [{ role: "user", content: question }];
const SENTENCE_MAX = 300;

export const city = {
  type: "object",
  properties: { city: { type: "string", enum: ["Oslo", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};
export const weather = { name: "weather", description: "Weather of a city.", parameters: city };

export const calledWeather = { id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Oslo"}' } };

export async function checkFails(call, status) {
  try {
    await call();
  } catch (error) {
    check((error.status ?? error.statusCode) === status, `status ${error.status ?? error.statusCode}: ${error.message}`);
    return;
  }
  throw new Error(`no error with status ${status}`);
}

export function check(fact, what = "a fact does not hold") {
  if (!fact) throw new Error(what);
}

export async function run(features) {
  const results = {};
  for (const [name, feature] of Object.entries(features)) {
    try {
      await feature();
      results[name] = "ok";
    } catch (error) {
      results[name] = `${error.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, SENTENCE_MAX);
    }
  }
  console.log(JSON.stringify(results));
}
