// A Datanet's versions with their roots, and its leaderboard. What people earned is told by the chain's final blocks.
import { cliLine, quoted, says } from "./cli.js";
import { act } from "./dialog.js";
import { h } from "./dom.js";
import { amount, count, id, NONE, percent } from "./format.js";
import { button, facts, note, panel } from "./parts.js";
import { table } from "./table.js";

const share = (ppm) => ppm === null || ppm === undefined ? NONE : percent(ppm, 1e6, 1);

// drawVersions({details, terms, chain, network}, changed): `terms` are the Datanet's by the chain, null where they are not known.
export function drawVersions({ details, terms, chain, network }, changed) {
  const words = `datanet publish ${quoted(details.name)}`, line = cliLine(words), why = whyNotPublished(details, chain, network);
  const go = () => act({
    title: `Publish ${details.name}`, sentence: "All approved rows become the next version. The chain keeps two digests of it, and nobody can take a version back. Whoever has its rows can train on them.",
    verb: "datanet publish", args: { datanet: details.name }, words, does: "Publish", next: "Train an adapter on it in the Factory.", done: changed,
  });
  return panel({ class: "fill" }, "Versions", details.newest ? `the newest is ${details.newest}` : null,
    details.published.length ? table({
      caption: "Versions", rows: [...details.published].reverse(), key: (each) => each.version,
      columns: [
        { label: "Version", head: true, tight: true, cell: (each) => each.version }, { label: "Rows", num: true, cell: (each) => count(each.rows) }, { label: "People", num: true, cell: (each) => count(each.contributors) },
        { label: "Shares of the rows", rank: 2, cell: peopleText }, { label: "Rows’ root", rank: 2, cell: (each) => id(each.rows_root) }, { label: "Contributors’ root", rank: 2, cell: (each) => id(each.contributors_root) },
      ],
    }) : h("p", { class: "dim" }, "Nothing is published yet. A training needs a version, and so does everybody’s pay."),
    h("div", { class: "above" }, facts([
      ["Id on the chain", terms?.id ? h("code", {}, terms.id) : null], ["Licence", details.licence], ["Owner’s share", percent(details.owner_ppm, 1e6, 2)], ["Treasury", id(details.treasury)],
      ["Withdrawn", details.withdrawn ? `${count(details.withdrawn)} ${details.withdrawn === 1 ? "row" : "rows"}, which later versions leave out` : null],
    ])),
    why && h("p", { class: "note12 above8" }, why), h("span", { class: "fill" }), h("div", { class: "buttons above" }, says(button("Publish…", go, { kind: "primary", key: "publish datanet", disabled: Boolean(why) }), line, words)), line);
}

function whyNotPublished({ rows, name }, chain, network) {
  if (!rows) return `Nothing of ${name} is approved yet.`;
  if (chain === null) return network === "local" ? "This node is on no network, so nothing can be published." : "The chain has not answered yet.";
  return chain === "ok" ? null : `The chain is ${chain}: publishing waits until it answers.`;
}

function peopleText({ people, contributors }) {
  const named = people.map((each) => `${each.name ?? (each.account ? `${each.account.slice(0, 6)}…${each.account.slice(-4)}` : "without an address")} ${share(each.share_ppm)}`);
  return `${named.join(", ")}${contributors > people.length ? `, and ${count(contributors - people.length)} more` : ""}`;
}

export function drawStanding({ lines, why_no_chain: why, name }, isOwn) {
  const line = cliLine(isOwn ? `datanet rows ${quoted(name)}` : "contributor show ADDRESS");
  return panel({ class: "fill" }, "Leaderboard", "who gave what, and what it earned",
    why && note("", `${why}. What people earned is on the chain, so it is not known here.`),
    lines.length ? table({
      caption: "Leaderboard", rows: lines, key: (each) => `${each.account} ${each.name}`,
      columns: [
        { label: "Contributor", head: true, cell: (each) => [each.name ?? (each.account ? id(each.account) : "nobody: the treasury"), each.name && h("small", {}, each.account ? id(each.account) : "without an address")] },
        { label: "Accepted", num: true, cell: (each) => count(each.accepted) }, { label: "Share of sent", num: true, rank: 2, cell: (each) => share(each.accepted_ppm) }, { label: "Answers taught", num: true, rank: 2, cell: (each) => count(each.answers) },
        { label: "Influence paid", num: true, rank: 2, cell: (each) => share(each.influence_ppm) }, { label: "Earned, OPEN", num: true, cell: (each) => [amount(each.earned_wei), each.pending_wei && each.pending_wei !== "0" && h("small", {}, amount(each.pending_wei), " in review")] },
      ],
    }) : h("p", { class: "dim" }, "Nobody has contributed yet."),
    h("p", { class: "note12 above8" }, "Answers taught are those that this node sold or bought. Influence and earnings are of all nodes’ claims in final blocks."), h("span", { class: "fill" }), line);
}
