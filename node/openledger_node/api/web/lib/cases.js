// Open cases: which node is said to have signed false shares, what this node computed itself, and what a voter can do.
import { cliLine, says } from "./cli.js";
import { act } from "./dialog.js";
import { h } from "./dom.js";
import { id, open as openAmount, short, time } from "./format.js";
import { button, chip, panel } from "./parts.js";
import { table } from "./table.js";

const CHECKED = new Map([[true, ["shares are right", "ok"]], [false, ["shares are wrong", "bad"]], [null, ["can’t be checked here", ""]]]);

// drawCases({cases, bond, judged, isOver, account}, pick(number), again): `judged` are the verdicts that are proposed.
export function drawCases({ cases, bond, judged, isOver, account }, pick, again) {
  const line = cliLine("attribution cases");
  return panel({}, "Open cases", `each side puts up a bond, ${openAmount(bond, 0)} OPEN now; votes judge`, table({
    caption: "Cases that the votes can judge", rows: cases.map((each, n) => ({ ...each, isOver: isOver[n] })), key: (each) => each.digest,
    columns: [
      { label: "Receipt", head: true, keep: true, cell: (each) => [id(each.digest), h("small", {}, each.node === account ? "of this node" : ["of ", id(each.node)])] },
      { label: "Challenger", rank: 2, keep: true, cell: (each) => id(each.challenger) }, { label: "Contested by", rank: 2, keep: true, cell: (each) => each.contester ? id(each.contester) : `nobody, until ${time(each.contest_until_s)}` },
      { label: "Computed again here", cell: (each) => [chip(...CHECKED.get(each.shares_are_right)), each.detail && h("small", {}, each.detail)] }, { label: "Judged until", rank: 2, cell: (each) => time(each.judge_until_s) },
      { label: "", about: "Actions", num: true, cell: (each) => actionsOf(each, { judged, account }, line, pick, again) },
    ],
  }), h("p", { class: "note12 above8" }, "A challenge says that a node signed false shares. Question and answer are on the chain for everybody to compute the shares again."), line);
}

export const drawNoCase = (bond) => panel({}, "Open cases", "none", h("p", { class: "dim" }, `A payer who finds false shares in a receipt can challenge it with a bond of ${openAmount(bond, 0)} OPEN. Votes then judge, and the node can lose stake.`), h("span", { class: "fill" }), cliLine("attribution cases"));

function actionsOf(each, { judged, account }, line, pick, again) {
  const name = each.digest.slice(0, 14), [contestOver, judgeOver] = [each.isOver[1], each.isOver[0]], proposal = judged.find((verdict) => verdict.digest === each.digest);
  const does = (label, verb, sentence, args, words, does = label) => says(button(`${label}…`, () => act({ title: `${does}, case ${short(each.digest)}`, sentence, verb, args, words, does, done: again }), { kind: "small", key: `${label} ${name}` }), line, words);
  if (judgeOver) return does("Close", "attribution close", "Nobody judged this case in time: each side gets its bond back.", { case: each.digest }, `attribution close ${name}`);
  const judge = (guilty, label) => does(label, "gov propose", "Puts this verdict to the vote of all who hold OPEN.", { values: {}, judge: { [each.digest]: guilty }, spend_wei: null, to: null, reason: null, is_anyway: false }, `gov propose --judge ${each.digest}=${guilty}`, `Propose ${label.toLowerCase()}`);
  const verdicts = [each.shares_are_right !== true && judge("guilty", "Guilty"), each.shares_are_right !== false && judge("not-guilty", "Not guilty")];
  const canContest = !contestOver && each.shares_are_right === true && each.challenger !== account && (!each.contester || (each.node === account && each.contester !== account));
  return h("span", { class: "buttons" }, canContest && does("Contest", "attribution contest", "Stands up for the node with the same bond; it wins the challenger’s if the votes agree.", { case: each.digest }, `attribution contest ${name}`),
    proposal ? button(`Proposal ${proposal.number}`, () => pick(proposal.number), { kind: "small", key: `see ${name}`, changes: false }) : verdicts);
}
