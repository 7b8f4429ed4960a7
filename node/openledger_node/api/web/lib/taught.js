// Names, shares and order of those who taught an answer; attribution.js draws them.
import { decimal, short, sum } from "./format.js";

const nameOf = (each) => each.pays === "treasury" ? "the Datanet’s treasury" : each.name ?? short(each.account);
export const share = (ppm) => `${decimal(Math.floor(ppm / 1000) / 10)} %`; // never rounded up to a whole

// The four who have a colour, one line for all others, and the treasury, each with {key, label, number, rows, ppm, wei}.
export function ranked(people) {
  const line = (each) => ({ key: each.account, label: nameOf(each), title: each.account, number: each.number, rows: each.rows, ppm: each.ppm, wei: each.amount_wei, treasury: each.pays === "treasury" });
  const others = people.filter((each) => !each.number && each.pays !== "treasury"), rest = people.filter((each) => each.number || each.pays === "treasury").map(line);
  if (!others.length) return rest;
  const most = Math.ceil(Math.max(...others.map((each) => each.ppm)) / 1e4);
  const all = others.length === 1 ? line(others[0]) : {
    key: "others", label: `${others.length} others, each under ${most} %`, number: 0, rows: others.some((each) => each.rows === null) ? null : others.reduce((n, each) => n + each.rows, 0),
    ppm: others.reduce((n, each) => n + each.ppm, 0), wei: sum(...others.map((each) => each.amount_wei)),
  };
  return [...rest.filter((each) => !each.treasury), all, ...rest.filter((each) => each.treasury)];
}

// The same in one line: the two who have most, and how many others.
export function taughtBy({ teaching }) {
  if (!teaching.people.length) return "A base answer pays no Datanet";
  const people = teaching.people.filter((each) => each.pays !== "treasury"), more = people.length - 2;
  if (!people.length) return "No row speaks for this answer";
  return `Taught by ${people.slice(0, 2).map((each) => `${nameOf(each)} ${share(each.ppm)}`).join(more > 0 ? ", " : " and ")}${more > 0 ? ` and ${more} ${more === 1 ? "other" : "others"}` : ""}`;
}
