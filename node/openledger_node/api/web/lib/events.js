// What the node says as it happens. One stream; while it is broken, the same routes are asked each three seconds.
import { get, money, Refused } from "./api.js";

const AGAIN_MS = 3000, POINTS_MAX = 360;
const SILENT_MS = 12e3; // the node says at least each ten seconds that it lives
const ROUTES = {
  state: () => get("/status", AbortSignal.timeout(5000)),
  jobs: () => get("/jobs?limit=20"),
  money: () => money("receipts", { limit: 20 }),
  peers: () => money("peers"),
  chain: () => money("network"),
  engine: () => get("/engine"),
  factory: () => get("/factory"),
};

export const latest = {}; // topic → what was heard last
export const link = { isUp: null, since: null, heardAt: null, isStream: false, isShutOut: false };
const listeners = new Map();
let source = null, timer = null;

// Hear a topic, at once what is known of it; `link` is a topic too. Returns how to stop.
export function on(topic, hear) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(hear);
  if (topic === "link") hear(link);
  else if (topic in latest) hear(latest[topic]);
  return () => listeners.get(topic).delete(hear);
}

export function connect() {
  document.addEventListener("visibilitychange", lookOrRest); // the same one is added once
  rest();
  if (document.hidden) return;
  source = new EventSource("/operator/events");
  for (const topic of Object.keys(ROUTES)) source.addEventListener(topic, (event) => heard(topic, JSON.parse(event.data)));
  source.addEventListener("alive", () => alive(true));
  source.onerror = () => {
    source.close();
    poll();
  };
}

// A hidden page lets go of its stream: a browser has six connections to a host, for all of its tabs.
function rest() {
  clearTimeout(timer);
  source?.close();
  link.isStream = false;
}

async function lookOrRest() {
  if (document.hidden || link.isShutOut) return rest();
  if (await askState()) connect(); // which hears all the rest
}

setInterval(() => {
  if (!link.isStream || Date.now() - link.heardAt < SILENT_MS) return;
  source.close();
  link.isStream = false;
  poll();
}, 1000);

// Ask everything once; then try the stream again.
export async function poll() {
  if (document.hidden) return; // asked as soon as somebody looks
  const status = await askState();
  if (!status) return;
  try {
    const topics = ["jobs", "engine", "factory", ...(status.chain === "ok" ? ["money", "chain", ...(status.peer_id ? ["peers"] : [])] : [])];
    await Promise.all(topics.map(askOne));
    timer = setTimeout(connect, AGAIN_MS);
  } catch {
    goneForNow();
  }
}

// How the node is; null where it does not say so, or lets us in no more.
async function askState() {
  clearTimeout(timer);
  try {
    const status = await ROUTES.state();
    heard("state", status, false);
    return status;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) shutOut();
    else goneForNow();
    return null;
  }
}

function goneForNow() {
  gone();
  timer = setTimeout(poll, AGAIN_MS);
}

async function askOne(topic) {
  try {
    heard(topic, await ROUTES[topic](), false);
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // refused: there is none of it here
  }
}

function heard(topic, answer, isStream = true) {
  if (topic === "engine") answer = { points: joined(latest.engine?.points ?? [], answer.points) };
  if (topic === "peers" && answer.peer_id === null) return alive(isStream); // this node is on no network of others
  latest[topic] = answer;
  alive(isStream);
  tell(topic, answer);
}

// New points after old ones; a point that is known already is not said twice.
function joined(before, now) {
  const last = before.at(-1)?.at ?? "";
  return [...before, ...now.filter((point) => point.at > last)].slice(-POINTS_MAX);
}

function alive(isStream) {
  const was = link.isUp;
  Object.assign(link, { isUp: true, since: null, heardAt: Date.now(), isStream });
  if (was !== true) tell("link", link);
}

function gone() {
  if (link.isUp !== false) Object.assign(link, { isUp: false, since: Date.now(), isStream: false });
  tell("link", link);
}

function shutOut() {
  Object.assign(link, { isUp: false, isShutOut: true, isStream: false });
  tell("link", link);
}

function tell(topic, answer) {
  for (const hear of listeners.get(topic) ?? []) hear(answer);
}
