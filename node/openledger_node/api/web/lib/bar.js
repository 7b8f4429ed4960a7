// The bar over every screen: what the node does, and who and what it is in touch with.
import { h } from "./dom.js";
import { bytes, clock, count, span } from "./format.js";
import { latest } from "./events.js";
import { idleSince, memoryOf, reachOf } from "./facts.js";
import { button } from "./parts.js";

const TONES = { serving: "ok", idle: "warn", training: "busy", paused: "warn", draining: "warn", starting: "busy", stopped: "bad" };

export function barOf(status, chain, link, { pause, resume }) {
  const now = new Date(), isPaused = Boolean(status?.paused) || status?.state === "paused";
  return [
    stateOf(status, link),
    status && [
      h("span", { class: "bar-mid" }, reached(status)),
      h("span", { class: "bar-mid" }, h("b", {}, count(status.peers)), status.peers === 1 ? " peer" : " peers"),
      h("span", { class: "bar-mid bar-near" }, block(status, chain, now)),
      h("span", { class: "bar-mid bar-far" }, memory(status)),
    ],
    h("span", { class: "end" }, h("span", { class: "bar-mid bar-near" }, `${clock(now)} UTC`),
      status && button(isPaused ? "Resume" : "Pause", isPaused ? resume : pause, { kind: "small", key: "pause", disabled: link.isUp === false, title: `openledger-node ${isPaused ? "resume" : "pause"}` })),
  ];
}

// One word of state, its tone in a dot beside it.
export function stateOf(status, link) {
  if (link.isUp === false) return h("span", { class: "state", dataset: { tone: "bad" } }, "Not running");
  if (!status) return h("span", { class: "state" }, "Asking…");
  const isDown = status.chain === "down" || status.chain === "halted";
  const tone = isDown && status.state !== "serving" ? "bad" : TONES[status.state];
  return h("span", { class: "state", dataset: { tone } }, stateWords(status, isDown));
}

function stateWords(status, isDown) {
  const { state } = status, running = status.requests?.running;
  if (state === "serving") return running ? `Serving ${running}` : "Serving";
  if (state === "idle" && isDown) return status.chain === "halted" ? "Chain halted" : "Chain down";
  if (state === "idle") return `Idle ${span((Date.now() - idleSince(status)) / 1000)}`;
  const left = state === "training" ? latest.factory?.run?.progress?.time_left_s : null;
  return `${state[0].toUpperCase()}${state.slice(1)}${left ? `, ${span(left)} left` : ""}`;
}

function reached(status) {
  const { word } = reachOf(status, latest.peers);
  return word ? ["reached ", h("b", {}, word)] : "this machine alone";
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
