// What follows from a status, and is said in more than one place.
import { latest } from "./events.js";

// Since when nothing runs, in ms: the last answer's end, else the start.
export function idleSince(status) {
  const ends = (latest.jobs?.jobs ?? []).map((job) => Date.parse(job.received) + (job.duration_ms ?? 0)).filter(Number.isFinite);
  return ends.length ? Math.max(...ends) : startedAt(status);
}

// A start is known by how long ago it was; it is told to ten seconds, so that it stands still.
const startedAt = (status) => Math.floor((Date.now() - 1000 * (status.uptime_s ?? 0)) / 10e3) * 10e3;

// Why no money moves: what is said before the reason, and the command that helps. A reason that names a command wants you.
export function moneyTrouble(why) {
  const words = why?.match(/`openledger-node ([^`]+)`/)?.[1];
  return words ? { says: "No money moves yet", words } : { says: "The chain does not answer", words: "doctor --only chain" };
}

// What the engine takes where it runs, and what its owner lets it take; null: no cap.
export function memoryOf(status) {
  const engine = status.engine ?? {}, kv = engine.kv_cache ?? {}, limits = status.limits ?? {}, isGpu = engine.device === "cuda";
  const isOff = ["paused", "unloaded", "failed"].includes(engine.state);
  const parts = [
    { label: "Base", value: isOff ? 0 : engine.base_bytes ?? 0 }, { label: "KV cache", value: (kv.blocks ?? 0) * (kv.block_bytes ?? 0) },
    { label: "Adapters", value: status.adapters?.resident_bytes ?? 0 },
  ];
  return { parts, used: parts.reduce((all, each) => all + each.value, 0), cap: (isGpu ? limits.vram_bytes : limits.ram_bytes) || null, isGpu };
}

// How others reach us, in a word and in a clause. `word` is null where there is nobody to come.
const WAYS = { public: "directly", mapped: "directly", punched: "by hole punching", relayed: "over a relay", unreachable: "by nobody", unknown: "not known yet" };

export function reachOf(status) {
  const { reach, peers, chain, network } = status;
  if (!reach) return { word: null, says: network !== "local" && chain !== "ok" ? "not known until the chain answers" : "there is nobody else here" };
  if (reach.state === "unknown" && !peers) return { word: WAYS.unreachable, says: "no peer is connected" };
  return { word: WAYS[reach.state], says: reach.says };
}

// A node that no other could send a request to: on this machine alone, or on a chain of its own.
export const isAlone = (status) => status.network === "local" || (status.chain === "ok" && !status.reach);
