// Asking the node: the same routes as the verbs', below /operator; each request carries the session's token.

export class Refused extends Error {
  constructor(message, status, code = null) {
    super(message);
    Object.assign(this, { status, code });
  }
}

// Kept for this port alone, unlike a cookie; read anew each time, since another tab may have opened a newer link.
const TOKEN = "openledger-token";
const authorised = (token = localStorage.getItem(TOKEN) ?? "") => ({ "X-OpenLedger-Token": token });

// Who we are to the node; null where this browser was not let in.
export async function openSession() {
  const brought = takeBrought();
  // Anybody's link can bring a token: one that the node does not know must not take the place of ours.
  if (brought && (await fetch("/session", { headers: authorised(brought) })).ok) localStorage.setItem(TOKEN, brought);
  const response = await fetch("/session", { headers: authorised() });
  return response.ok ? response.json() : null;
}

// The token that the one-time link has put behind the #; gone from the address before anything else is done.
function takeBrought() {
  const [, token] = location.hash.match(/^#t=([\w-]+)$/) ?? [];
  if (token) history.replaceState(null, "", location.pathname);
  return token;
}

export const get = (path, signal) => ask("GET", `/operator${path}`, undefined, signal);
export const post = (path, body = {}) => ask("POST", `/operator${path}`, body);
export const money = (question, body = {}) => post(`/money/${question}`, body);

// A route of the API beside the operator's; the answer is the response itself, for who reads it as it comes.
export async function fetchApi(method, path, body, signal) {
  const headers = authorised();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  if (!response.ok) throw await refusedBy(response);
  return response;
}

// A file as it is, read by the node; nothing of it is taken.
export async function upload(path, file) {
  const response = await fetch(`/operator${path}`, { method: "POST", headers: { ...authorised(), "Content-Type": "application/octet-stream" }, body: file });
  if (!response.ok) throw await refusedBy(response);
  return response.json();
}

async function ask(method, path, body, signal) {
  return (await fetchApi(method, path, body, signal)).json();
}

async function refusedBy(response) {
  let answer = {};
  try {
    answer = await response.json();
  } catch { /* no JSON: the status alone says it */ }
  const detail = typeof answer.detail === "string" ? answer.detail : `the node answers ${response.status}`;
  return new Refused(answer.error?.message ?? detail, response.status, answer.error?.code ?? null);
}
