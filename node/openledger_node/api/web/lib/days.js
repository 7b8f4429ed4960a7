// Earnings over time: a bar for each day as the node counts it. Only heights are computed here, no money.
import { cliLine } from "./cli.js";
import { openDialog } from "./dialog.js";
import { h, svg } from "./dom.js";
import { amount, count, MONEY_STATES, open, sum } from "./format.js";
import { button, panel } from "./parts.js";
import { table } from "./table.js";

const OPEN = 1e18, GAP = 0.8;
// The figures beside the node's own part; the table leaves out those that no day has.
const ROLES = [["Royalties", "royalty_wei"], ["Datanets", "datanet_wei"], ["Stake", "stake_wei"], ["Other", "other_wei"]], COSTS = [["Spent", "spent_wei"], ["Lost", "lost_wei"], ["Relay fees", "relay_fees_wei"]];
const names = (figures) => figures.map(([, name]) => name);
// The bars of a day: class, label, figures, and whether they are taken off. Together they are the day's net.
const KINDS = [["final", "final", ["claimed_wei"]], ["claimed", "claimed", ["settled_wei"]], ["roles", "other roles", names(ROLES)], ["spent", "spent or lost", names(COSTS), true], ["gas", "gas", ["gas_open_wei"], true]];
const size = (wei) => Number(wei) / OPEN;
const of = (day, figures) => sum(...figures.map((name) => day[name]));
const signed = (day) => KINDS.map(([kind, , figures, isCost]) => [kind, size(of(day, figures)) * (isCost ? -1 : 1)]);
const total = (day, sign) => signed(day).reduce((all, [, open]) => all + Math.max(0, sign * open), 0);

// drawDays(days): the days of `earnings --since 30d --by day`, the oldest first and today last.
export function drawDays(days) {
  const whole = days.at(-1).total_wei, shown = KINDS.filter(([, , figures]) => days.some((day) => of(day, figures) !== "0"));
  const value = h("b", {}), about = h("span", { class: "note12" });
  const say = (day) => {
    value.textContent = `${open(day ? day.net_wei : whole)} OPEN`;
    about.textContent = day ? `${dayWords(day)}: ${shown.map(([, label, figures]) => `${open(of(day, figures))} ${label}`).join(", ") || "nothing"}; ${open(day.total_wei)} up to then` : `net in ${count(days.length)} days, less spending and gas`;
  };
  say(null);
  return panel({ class: "days" }, "Earned by day", button("As table", () => daysTable(days), { kind: "link", changes: false }),
    h("p", { class: "figure" }, value, " ", about), plot(days, whole, say),
    shown.length === 0 ? h("p", { class: "note12" }, "Nothing earned in these days. A paid answer counts on the day of its claim.") : legend(shown), cliLine("earnings --since 30d --by day"));
}

function plot(days, whole, say) {
  const top = Math.max(...days.map((day) => total(day, 1))), low = Math.max(...days.map((day) => total(day, -1)));
  const height = (open) => (100 * open) / (top + low || 1), zero = top + low ? (100 * top) / (top + low) : 100;
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

// Income is stacked above the line and costs below it. A case's bond may make a day's other roles a cost.
function bars(day, x, width, zero, height) {
  let above = zero, below = zero;
  return signed(day).filter(([, open]) => open).map(([kind, open]) => {
    const tall = height(Math.abs(open)), y = open > 0 ? above -= tall : below;
    if (open < 0) below += tall;
    return svg("rect", { class: `bar ${kind}`, x: x + GAP / 2, width: width - GAP, y, height: tall });
  });
}

const legend = (shown) => h("div", { class: "legend" }, shown.map(([kind, label]) => h("span", {}, h("i", { class: kind }), label)));
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
    columns: [{ label: "Day", head: true, keep: true, cell: (day) => day.day }, figure(MONEY_STATES.claimed_wei, "claimed_wei", 2), figure(MONEY_STATES.settled_wei, "settled_wei", 2), ...[...ROLES, ...COSTS].filter(([, name]) => days.some((day) => day[name] !== "0")).map(([label, name]) => figure(label, name, 2)), figure("Gas", "gas_open_wei", 2), figure("Net", "net_wei"), figure("Sum", "total_wei")],
  })), h("div", { class: "buttons" }, button("Close", () => dialog.close(), { changes: false })));
}
