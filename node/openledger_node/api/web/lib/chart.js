// Charts as inline SVG. The lines stretch with their box; words are HTML beside them, so that they never do.
import { h, svg } from "./dom.js";
import { NONE } from "./format.js";

// sparkline([1, 2, null, 4]): from zero, no axes; hidden from readers, since the number beside it speaks.
export function sparkline(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length < 2) return null;
  const top = Math.max(...known, 0) || 1;
  const picture = svg("svg", { class: "spark", viewBox: "0 0 64 16", preserveAspectRatio: "none", "aria-hidden": "true" });
  picture.append(svg("path", { d: path(values.map((y, n) => [(n * 64) / (values.length - 1), y === null || y === undefined ? null : 15 - (14 * y) / top])) }));
  return picture;
}

// chart({title, say(value), series: [{name, points: [[x, y|null]], dashed, area}], xs: [from, to], below: […], unit, height})
// The last value stands in the head; hover, or the arrow keys, moves the cursor of every chart in the same strip.
export function chart({ title, say = String, series, xs, below = [], height = 88, top = null, tickText = (tick) => String(Number(tick.toPrecision(2))), words = "" }) {
  const [from, to] = xs;
  const seen = series.flatMap((each) => each.points.map(([, y]) => y)).filter((y) => y !== null && y !== undefined);
  const high = niceTop(Math.max(top ?? 0, ...seen, 0));
  const at = ([x, y]) => [(100 * (x - from)) / (to - from || 1), y === null || y === undefined ? null : 100 - (100 * y) / high];
  const value = h("b", {}, headOf(series, say));
  const cursor = svg("line", { class: "cursor", y1: 0, y2: 100, x1: -9, x2: -9, visibility: "hidden" });
  const picture = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...[0, 50, 100].map((y) => svg("line", { class: "rule", x1: 0, x2: 100, y1: y, y2: y })),
    ...series.flatMap((each, n) => draw(each, n, at)), cursor);
  const plot = h("div", { class: "plot", tabindex: "0", role: "img", dataset: { key: `plot ${title}` }, vars: { "--plot-height": `${height}px` }, "aria-label": `${title}, ${words}${seen.length ? `now ${headOf(series, say)}, highest ${say(Math.max(...seen))}` : "nothing measured yet"}` },
    h("div", { class: "lines" }, picture),
    h("div", { class: "ticks", "aria-hidden": "true" }, [high, high / 2, 0].map((tick, n) => h("span", { vars: { top: `${n * 50}%` } }, tickText(tick)))),
    h("div", { class: "below", "aria-hidden": "true" }, below.map((word) => h("span", {}, word))));
  const box = h("div", { class: "chart" }, h("header", {}, h("h3", {}, title), value), plot, series.length > 1 && legend(series));
  box.point = (x) => {
    cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
    value.textContent = x === null ? headOf(series, say) : headOf(series.map((each) => ({ ...each, points: [nearest(each.points, x)] })), say);
    if (x !== null) for (const end of ["x1", "x2"]) cursor.setAttribute(end, at([x, 0])[0]);
  };
  follow(plot, box, series[0].points, xs);
  return box;
}

const legend = (series) => h("div", { class: "legend" }, series.map((each) => h("span", {}, h("i", { class: `stroke ${each.dashed ? "dashed" : ""}` }), each.name)));

function headOf(series, say) {
  const last = series.map((each) => each.points.at(-1)?.[1]).find((y) => y !== null && y !== undefined);
  return last === undefined ? NONE : say(last);
}

function draw(each, n, at) {
  const spots = each.points.map(at);
  const line = svg("path", { class: `series ${each.dashed ? "second" : ""}`, d: path(spots) });
  const known = spots.filter(([, y]) => y !== null);
  if (!each.area || !known.length) return [line];
  return [svg("path", { class: "area", d: `${path(known)}L${known.at(-1)[0]} 100L${known[0][0]} 100Z` }), line];
}

// A line through the spots; where one is unknown, it breaks.
function path(spots) {
  let pen = "M";
  return spots.map(([x, y]) => {
    if (y === null) { pen = "M"; return ""; }
    const step = `${pen}${x.toFixed(2)} ${y.toFixed(2)}`;
    pen = "L";
    return step;
  }).join("");
}

export function niceTop(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((n) => n * size).find((n) => n >= value - 1e-9);
}

const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best, points[0] ?? [x, null]);

function follow(plot, box, points, [from, to]) {
  const all = (x) => { for (const each of (box.closest(".charts") ?? box.parentElement).querySelectorAll(".chart")) each.point?.(x); };
  const lines = plot.firstChild;
  lines.addEventListener("pointermove", (event) => {
    const edge = lines.getBoundingClientRect();
    all(from + ((to - from) * (event.clientX - edge.left)) / edge.width);
  });
  lines.addEventListener("pointerleave", () => all(null));
  const choose = (x) => { plot.chosen = x; all(x); }, old = document.activeElement;
  plot.chosen = old?.dataset.key === plot.dataset.key ? old.chosen ?? null : null; // drawn anew, it goes on from there
  plot.addEventListener("focus", () => plot.chosen !== null && all(plot.chosen));
  plot.addEventListener("blur", () => choose(null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    const after = plot.chosen === null ? points.length : points.findIndex(([x]) => x >= plot.chosen), index = after < 0 ? points.length - 1 : after;
    choose(points[Math.min(points.length - 1, Math.max(0, index + step))][0]);
  });
}
