// Earnings over time: a bar for each day as the node counts it. Only heights are computed here, no money.
import { cliLine } from "./cli.js";
import { openDialog } from "./dialog.js";
import { h, svg } from "./dom.js";
import { amount, count, MONEY_STATES, open } from "./format.js";
import { button, panel } from "./parts.js";
import { table } from "./table.js";

const OPEN = 1e18, GAP = 0.8, KINDS = [["final", "claimed_wei"], ["claimed", "settled_wei"], ["gas", "gas_open_wei"]];
const size = (wei) => Number(wei) / OPEN;

// drawDays(days): the days of `earnings --since 30d --by day`, the oldest first and today last.
export function drawDays(days) {
  const whole = days.at(-1).total_wei, isEmpty = days.every((day) => KINDS.every(([, name]) => day[name] === "0"));
  const value = h("b", {}), about = h("span", { class: "note12" });
  const say = (day) => {
    value.textContent = `${open(day ? day.net_wei : whole)} OPEN`;
    about.textContent = day ? `${dayWords(day)}: ${open(day.claimed_wei)} final, ${open(day.settled_wei)} claimed, ${open(day.gas_open_wei)} gas; ${open(day.total_wei)} up to then` : `net in ${count(days.length)} days, after gas`;
  };
  say(null);
  return panel({ class: "days" }, "Earned by day", button("As table", () => daysTable(days), { kind: "link", changes: false }),
    h("p", { class: "figure" }, value, " ", about), plot(days, whole, say),
    isEmpty ? h("p", { class: "note12" }, "Nothing earned in these days. A paid answer counts on the day of its claim.") : legend(), cliLine("earnings --since 30d --by day"));
}

function plot(days, whole, say) {
  const top = Math.max(...days.map((day) => size(day.claimed_wei) + size(day.settled_wei)), 0), low = Math.max(...days.map((day) => size(day.gas_open_wei)), 0);
  const height = (wei) => (100 * size(wei)) / (top + low || 1), zero = top + low ? (100 * top) / (top + low) : 100;
  const cursor = svg("rect", { class: "at", y: 0, height: 100, width: 100 / days.length, visibility: "hidden" });
  const picture = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "today", x: 100 - 100 / days.length, y: 0, width: 100 / days.length, height: 100 }), cursor,
    ...days.flatMap((day, n) => bars(day, (100 * n) / days.length, 100 / days.length, zero, height)), svg("line", { class: "rule", x1: 0, x2: 100, y1: zero, y2: zero }));
  const best = days.reduce((found, day) => BigInt(day.net_wei) > BigInt(found.net_wei) ? day : found);
  const box = h("div", { class: "plot", tabindex: "0", role: "img", dataset: { key: "plot days" }, vars: { "--plot-height": top + low ? "112px" : "48px" }, "aria-label": `Earned by day, ${days.length} days, net ${open(whole)} OPEN; most on ${dayWords(best)}: ${open(best.net_wei)} OPEN` },
    h("div", { class: "lines" }, picture), h("div", { class: "ticks", "aria-hidden": "true" }),
    h("div", { class: "below", "aria-hidden": "true" }, h("span", {}, dayWords(days[0])), h("span", {}, "today")));
  follow(box, days, (n) => {
    cursor.setAttribute("visibility", n === null ? "hidden" : "visible");
    if (n !== null) cursor.setAttribute("x", (100 * n) / days.length);
    say(n === null ? null : days[n]);
  });
  return box;
}

function bars(day, x, width, zero, height) {
  const final = height(day.claimed_wei), claimed = height(day.settled_wei), gas = height(day.gas_open_wei);
  const bar = (kind, y, tall) => tall > 0 ? [svg("rect", { class: `bar ${kind}`, x: x + GAP / 2, width: width - GAP, y, height: tall })] : [];
  return [...bar("final", zero - final, final), ...bar("claimed", zero - final - claimed, claimed), ...bar("gas", zero, gas)];
}

const legend = () => h("div", { class: "legend" }, KINDS.map(([kind]) => h("span", {}, h("i", { class: kind }), kind)));
const dayWords = (day) => new Date(`${day.day}T00:00:00Z`).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

// Hover, or the arrow keys, chooses a day; leaving shows the whole again.
function follow(box, days, point) {
  const lines = box.firstChild, last = days.length - 1;
  let at = null;
  lines.addEventListener("pointermove", (event) => {
    const edge = lines.getBoundingClientRect();
    point(Math.min(last, Math.max(0, Math.floor((days.length * (event.clientX - edge.left)) / edge.width))));
  });
  const leave = () => { at = null; point(null); };
  lines.addEventListener("pointerleave", leave);
  box.addEventListener("blur", leave);
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    at = Math.min(last, Math.max(0, (at ?? last + 1) + step));
    point(at);
  });
}

function daysTable(days) {
  const figure = (label, name, rank = 1) => ({ label, num: true, rank, cell: (day) => amount(day[name]) });
  const dialog = openDialog("Earned by day, OPEN", h("div", { class: "tall", tabindex: "0", role: "region", "aria-label": "Days" }, table({
    caption: "Earnings of each day of UTC, the newest first", rows: days.toReversed(), key: (day) => day.day,
    columns: [{ label: "Day", head: true, keep: true, cell: (day) => day.day }, figure(MONEY_STATES.claimed_wei, "claimed_wei", 2), figure(MONEY_STATES.settled_wei, "settled_wei", 2), figure("Gas", "gas_open_wei", 2), figure("Net", "net_wei"), figure("Sum", "total_wei")],
  })), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
}
