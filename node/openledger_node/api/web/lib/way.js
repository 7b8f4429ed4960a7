// One OPEN, from request to claim: seven steps with who signs, when and where it stands, and how it is divided.
import { h } from "./dom.js";
import { amount, count, id, open as openAmount, percent, short, span, sum, time } from "./format.js";
import { cliLine } from "./cli.js";
import { ranked } from "./taught.js";
import { button, panel, person } from "./parts.js";
import { table } from "./table.js";

const NAMES = { deposit: "Deposit", voucher: "Voucher", receipt: "Receipt", claim: "Claim", "payout list": "Payout list", draw: "Draw", withdrawal: "Withdrawal" };
const PAYEES = { node: "Node", "adapter owner": "Adapter owner", "Datanet contributors": "Contributors", "Datanet owners": "Datanet owners", protocol: "Protocol" };
const STATES = { done: "done", now: "now", next: "next" };

const label = (part) => `${PAYEES[part.to]} ${percent(part.ppm, 1e6)}`;

// drawWay({found, receipts, asPaid}, {pick(digest), toggle()})
export function drawWay({ found, receipts, asPaid }, { pick, toggle }) {
  const shown = asPaid ? found.as_paid : found.of_one;
  const choice = h("select", { "aria-label": "Which receipt", dataset: { key: "receipt" }, onchange: () => pick(choice.value) },
    [...new Map([[found.digest, null], ...receipts.map((each) => [each.digest, each])]).keys()].map((digest) => h("option", { value: digest, selected: digest === found.digest }, `receipt ${short(digest)}`)));
  const aside = h("span", { class: "aside" }, h("span", { class: "note12" }, `${openAmount(found.amount_wei)} OPEN${asPaid ? ", as paid" : ", shown as 1"}`), button(asPaid ? "Show as 1" : "Show as paid", toggle, { kind: "link", key: "as-paid", changes: false }), choice);
  return panel({ "aria-label": "One OPEN", class: "taught" }, null, null, h("header", {}, h("h2", {}, asPaid ? `${openAmount(found.amount_wei)} OPEN, from request to withdrawal` : "One OPEN, from request to withdrawal"), aside),
    h("ol", { class: "way" }, found.steps.map((step) => drawStep(step, found, shown))),
    h("div", { class: "parts", role: "img", "aria-label": `Divided: ${shown.parts.map((part) => `${PAYEES[part.to]} ${percent(part.ppm, 1e6)}`).join(", ")}` }, shown.parts.filter((part) => part.ppm > 0).map((part) =>
      h("span", { class: [part.to === "Datanet contributors" && "own", part.ppm < label(part).length * 1e4 && "min"].filter(Boolean).join(" "), vars: { "--part": part.ppm }, title: label(part) }, part.ppm < label(part).length * 1e4 ? "" : label(part)))),
    h("div", { class: "halves" }, partTable(shown, asPaid), peopleTable(shown)),
    cliLine(`attribution show ${found.digest.slice(0, 14)} --follow`));
}

function drawStep(step, found, shown) {
  const scaled = { receipt: shown.amount_wei, withdrawal: shown.parts.find((part) => part.to === "node").amount_wei }[step.step] ?? step.amount_wei;
  const isPlain = scaled !== null && scaled === step.amount_wei && shown.amount_wei !== found.amount_wei;
  const left = step.step === "draw" && step.state === "now" && step.at ? Date.parse(step.at) / 1000 - found.chain_time_s : null;
  const where = step.hash ? [step.is_on_chain ? "tx " : "", id(step.hash)] : step.is_on_chain ? null : "off chain";
  return h("li", { dataset: { state: step.state } }, h("b", {}, NAMES[step.step], h("span", { class: "unseen" }, `, ${STATES[step.state]}`)),
    h("b", {}, left !== null ? (left > 0 ? `${span(left)} left` : "over, due") : scaled === null ? "" : [amount(scaled), isPlain && " as paid"]),
    h("div", {}, `${step.who} ${step.says}`), step.account && h("div", {}, id(step.account)), step.at && h("div", {}, time(step.at)), where && h("div", {}, where));
}

const partTable = (shown, asPaid) => table({
  caption: "Who gets which part", rows: shown.parts, key: (part) => part.to,
  columns: [
    { label: asPaid ? "Of this receipt" : "Of this one OPEN", head: true, cell: (part) => part.to === "Datanet contributors" ? ["Datanet contributors", h("small", {}, "by the shares of its attribution")] : PAYEES[part.to] },
    { label: "Share", num: true, cell: (part) => percent(part.ppm, 1e6, part.ppm % 1e4 ? 2 : 0) }, { label: "Amount", num: true, cell: (part) => amount(part.amount_wei) },
  ],
  sum: ["Sum", percent(1, 1), amount(sum(...shown.parts.map((part) => part.amount_wei)))],
});

function peopleTable(shown) {
  const whole = shown.parts.find((part) => part.to === "Datanet contributors")?.amount_wei ?? "0", lines = ranked(shown.people);
  if (!lines.length) return h("p", { class: "dim" }, "The base alone answered: nobody’s data is paid.");
  return table({
    caption: "Contributors by share", rows: lines, key: (each) => each.key,
    columns: [
      { label: `Contributors’ ${openAmount(whole)}`, head: true, cell: (each) => [person(each.number, each.treasury ? "–" : each.number || "…"), h("span", { title: each.title }, each.label)] },
      { label: "ppm", num: true, cell: (each) => count(each.ppm) }, { label: "Amount", num: true, cell: (each) => amount(each.wei) },
    ],
    sum: ["Sum", count(lines.reduce((n, each) => n + each.ppm, 0)), amount(whole)],
  });
}
