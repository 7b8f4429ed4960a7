// The work behind the earnings: how much of the time, what was sold, what power cost, and what a week brought lately.
import { cliLine } from "./cli.js";
import { coded, h } from "./dom.js";
import { amount, count, decimal, open, short } from "./format.js";
import { facts, panel } from "./parts.js";
import { table } from "./table.js";

const SOURCES = { flag: "as given", setting: "as set", card: "by the card’s driver" };
const share = (ppm) => `${(Math.floor(ppm / 1000) / 10).toFixed(1)} %`;

// drawWork(work): the answer of `earnings --since 30d --json`, its part about work.
export function drawWork(work) {
  if (!work) return null;
  const { duty, sold, devices, power, forecast } = work, line = cliLine("earnings --since 30d");
  return panel({ "aria-label": "Work and power" }, "Work and power", "30 days · no promise about the next",
    facts([["Answering", `${share(duty.day.share_ppm)} of 24 h · ${share(duty.week.share_ppm)} of 7 days`], ["A week, net", weekWords(forecast)], ["Power", powerWords(power)], ["By device", deviceWords(devices)]]),
    sold.length > 0 && table({
      caption: "Answers sold in 30 days by model, gross", rows: sold, key: (row) => `${row.base} ${row.adapter_id}`,
      columns: [
        { label: "Model", head: true, cell: (row) => row.adapter_id ? [short(row.adapter ?? row.adapter_id, 32), h("small", {}, row.base)] : [row.base ?? "the base", h("small", {}, "base")] },
        { label: "Answers", num: true, cell: (row) => count(row.receipts) }, { label: "Tokens", num: true, rank: 2, cell: (row) => count(row.tokens_out) }, { label: "Gross, OPEN", num: true, cell: (row) => amount(row.amount_wei) },
      ],
      sum: ["All", count(sold.reduce((all, row) => all + row.receipts, 0)), count(sold.reduce((all, row) => all + row.tokens_out, 0)), amount(work.sold_wei)],
    }), line);
}

// One device alone has all that was sold, so nothing is said of it.
const deviceWords = (devices) => devices.filter((each) => each.device).length > 1
  ? devices.map((each) => `${open(each.amount_wei)} OPEN gross for ${count(each.receipts)} ${each.receipts === 1 ? "answer" : "answers"} on ${each.device ?? "an unknown device"}`).join(" · ") : null;

function weekWords(range) {
  if (!range) return null;
  if (range.low_wei === null) return `no range before ${range.history_days_min} whole days of history; there are ${range.history_days}`;
  return `${open(range.low_wei)} to ${open(range.high_wei)} OPEN, the lowest and the highest ${range.window_days} days in a row on your last ${range.history_days} days`;
}

const powerWords = (power) => power
  ? `${decimal(power.cost, 2)} ${power.currency ?? "in your currency"}: ${decimal(power.kwh, 3)} kWh in ${decimal(power.hours, 1)} h of answering at ${decimal(power.watts, 0)} W, ${SOURCES[power.watts_from]}. It is in no sum of OPEN.`
  : coded("not counted: `config set power.price_per_kwh 0.30` sets its price");
