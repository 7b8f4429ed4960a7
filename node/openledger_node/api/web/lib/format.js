// Numbers, amounts and times as the page writes them. Amounts are whole wei in texts, and never become floats.
import { h } from "./dom.js";

export const NONE = "–";
const WEI = 10n ** 18n;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// Wei as OPEN, cut after `places`; what is cut off is never rounded up.
export function open(wei, places = 6) {
  if (wei === null || wei === undefined) return NONE;
  const value = BigInt(wei), size = value < 0n ? -value : value;
  const rest = (size % WEI).toString().padStart(18, "0").slice(0, places);
  return `${value < 0n ? "−" : ""}${count(size / WEI)}${places ? `.${rest}` : ""}`;
}

// An amount to read, with its wei on hover.
export const amount = (wei, places = 6) =>
  h("span", { title: wei === null || wei === undefined ? null : `${wei} wei`, class: "amount" }, open(wei, places));

// A price to read: three places, or as many as its first three digits need; its wei on hover.
export function price(wei) {
  if (wei === null || wei === undefined) return NONE;
  const rest = (BigInt(wei) % WEI).toString().padStart(18, "0"), zeros = rest.match(/^0*/)[0].length;
  const places = BigInt(wei) >= WEI || zeros === 18 ? 3 : Math.max(3, Math.min(18, zeros + 3));
  return h("span", { title: `${wei} wei`, class: "amount" }, open(wei, places).replace(/(\.\d{3}\d*?)0+$/, "$1"));
}

export const sum = (...weis) => weis.some((wei) => wei === null || wei === undefined) ? null : weis.reduce((all, wei) => all + BigInt(wei), 0n).toString();

export const count = (value) => value === null || value === undefined ? NONE : value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");

export const decimal = (value, places = 1) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const [whole, rest] = Math.abs(value).toFixed(places).split(".");
  return `${value < 0 ? "−" : ""}${count(whole)}${rest ? `.${rest}` : ""}`;
};

export const percent = (part, whole, places = 0) => whole ? `${decimal((100 * part) / whole, places)} %` : NONE;

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${decimal(value / size, value / size < 100 && unit !== "kB" ? 1 : 0)} ${unit}`;
  }
  return `${value} B`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

const two = (value) => String(value).padStart(2, "0");
export const clock = (date) => `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;

// A moment in UTC; what is more than a day away comes with its date. Takes RFC 3339, seconds or a Date.
export function time(moment) {
  if (moment === null || moment === undefined) return NONE;
  const date = moment instanceof Date ? moment : new Date(typeof moment === "number" ? moment * 1000 : moment);
  if (Number.isNaN(date.getTime())) return NONE;
  if (Math.abs(Date.now() - date.getTime()) < 86400e3) return clock(date);
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${clock(date).slice(0, 5)}`;
}

export const seconds = (ms) => ms === null || ms === undefined ? NONE : `${decimal(ms / 1000, ms < 100 ? 3 : 2)} s`;

// The two ends of an address, a digest or a peer id; whole on hover and for who listens.
export function short(text, ends = 4) {
  if (!text) return NONE;
  const whole = String(text), head = whole.startsWith("0x") ? ends + 2 : ends;
  return whole.length <= head + ends + 1 ? whole : `${whole.slice(0, head)}…${whole.slice(-ends)}`;
}
export const id = (text, ends = 4) => text ? h("code", { title: text }, short(text, ends)) : NONE;
