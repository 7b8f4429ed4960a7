// The bar over every screen: what the node does, and who and what it is in touch with.
import { clean, h, part } from "./dom.js";
import { bytes, clock, count, span } from "./format.js";
import { idleSince, isAlone, memoryOf, reachOf } from "./facts.js";
import { button } from "./parts.js";

// Idle and well is calm. Amber is for what wants a look: a failing check that is not mere lack of demand, or an alert.
const TONES = { serving: "ok", idle: "calm", training: "busy", paused: "warn", draining: "warn", starting: "busy", stopped: "bad" };

// Whom the node is in touch with, and what it takes.
export function figuresOf(status, chain, now) {
  return status && [
    h("span", { class: "bar-mid" }, reached(status)),
    h("span", { class: "bar-mid" }, h("b", {}, count(status.peers)), status.peers === 1 ? " peer" : " peers"),
    h("span", { class: "bar-mid bar-near" }, block(status, chain, now)),
    h("span", { class: "bar-mid bar-far" }, memory(status)),
  ];
}

// The time, and the button that pauses; the figures beside it change each second, the button only with what it does.
export function endOf({ pause, resume }) {
  const time = h("span", { class: "bar-mid bar-near" }), hold = part({}, "span"), place = h("span", { class: "end" }, time, hold);
  place.say = (status, link, now) => {
    time.textContent = `${clock(now)} UTC`;
    hold.show({ isThere: Boolean(status), isPaused: Boolean(status?.paused) || status?.state === "paused", isOff: link.isUp === false }, draw);
  };
  const draw = ({ isThere, isPaused, isOff }) =>
    isThere && button(isPaused ? "Resume" : "Pause", isPaused ? resume : pause, { kind: "small", key: "pause", disabled: isOff, title: `openledger-node ${isPaused ? "resume" : "pause"}` });
  return place;
}

// The state, its tone in a dot beside it. It stays where it is: a reader says the word when it changes, and no figure beside it.
export function stateLine() {
  const word = h("span", { role: "status" }), more = h("span", {}), place = h("span", { class: "state" }, word, more);
  place.say = (status, link) => {
    const [now, figures, tone] = stateOf(status, link);
    if (word.textContent !== now) word.textContent = now;
    more.textContent = figures;
    if (tone) place.dataset.tone = tone;
    else delete place.dataset.tone;
  };
  return place;
}

function stateOf(status, link) {
  if (link.isUp === false) return ["Not running", "", "bad"];
  if (!status) return ["Asking…", "", null];
  const isDown = status.chain === "down" || status.chain === "halted";
  return [...stateWords(status, isDown), toneOf(status, isDown)];
}

function toneOf(status, isDown) {
  if (isDown && status.state !== "serving") return "bad";
  return status.state === "idle" && wantsLook(status) ? "warn" : TONES[status.state];
}

const wantsLook = (status) => (status.money?.alerts ?? []).length > 0 || (status.checks ?? []).some((check) => check.ok === false && check.check !== "demand");

function stateWords(status, isDown) {
  const { state } = status, running = status.requests?.running;
  if (state === "serving") return ["Serving", running ? ` ${running}` : ""];
  if (state === "idle" && isDown) return [status.chain === "halted" ? "Chain halted" : "Chain down", ""];
  if (state === "starting" && status.engine?.loading) return ["Loading", status.engine.loading.percent === null ? "" : ` ${status.engine.loading.percent} %`];
  if (state === "idle") return ["Idle", ` ${span((Date.now() - idleSince(status)) / 1000)}`];
  const left = state === "training" ? status.training?.time_left_s ?? null : null;
  return [clean(`${state[0].toUpperCase()}${state.slice(1)}`), left ? `, ${span(left)} left` : ""];
}

function reached(status) {
  const { word } = reachOf(status);
  if (!word) return isAlone(status) ? "this machine alone" : "not on its network yet";
  return ["reached ", h("b", {}, word)];
}

function block(status, chain, now) {
  if (status.chain === null) return "no chain";
  if (status.chain !== "ok" || !chain) return `chain ${status.chain}`;
  return ["block ", h("b", {}, count(chain.block)), `, ${span(now / 1000 - chain.chain_time_s)} ago`];
}

function memory(status) {
  const { used, cap, isGpu } = memoryOf(status);
  return [isGpu ? "GPU " : "memory ", h("b", {}, bytes(used)), cap ? ` of ${bytes(cap)}` : ""];
}
