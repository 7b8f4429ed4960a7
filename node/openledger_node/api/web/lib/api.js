// Asking the node: the same routes as the verbs', below /operator; writes carry the session's token.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const session = { token: "", screens: [] };

// Who we are to the node; null where this browser was not let in.
export async function openSession() {
  const response = await fetch("/session");
  if (!response.ok) return null;
  return Object.assign(session, await response.json());
}

export const get = (path, signal) => ask("GET", `/operator${path}`, undefined, signal);
export const post = (path, body = {}) => ask("POST", `/operator${path}`, body);
export const money = (question, body = {}) => post(`/money/${question}`, body);

// A route of the API beside the operator's; the answer is the response itself, for who reads it as it comes.
export async function fetchApi(method, path, body, signal) {
  const headers = { "X-OpenLedger-Token": session.token };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  if (!response.ok) throw new Refused(await reason(response), response.status);
  return response;
}

async function ask(method, path, body, signal) {
  return (await fetchApi(method, path, body, signal)).json();
}

async function reason(response) {
  try {
    const answer = await response.json();
    return answer.error?.message ?? (typeof answer.detail === "string" ? answer.detail : `the node answers ${response.status}`);
  } catch {
    return `the node answers ${response.status}`;
  }
}
