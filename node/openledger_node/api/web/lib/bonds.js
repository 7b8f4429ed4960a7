// Bonds: of a published adapter, and of the wallet at a Datanet that asks for one.
import { quoted } from "./cli.js";
import { act } from "./dialog.js";
import { open as openAmount } from "./format.js";

const order = (verb, title, does, sentence, next, name, done) => act({ title, sentence, verb: `adapters ${verb}`, args: { adapter: name }, words: `adapters ${verb} ${quoted(name)}`, does, next, done });

export const retireBond = (name, wei, done) => order("retire", `Retire ${name}`, "Retire", `Nobody can sell its answers any more, and this can’t be undone. What it has earned can be claimed until its bond of ${openAmount(wei)} OPEN is free.`, "Take the bond back when it is free: Money shows the time.", name, done);

export const reclaimBond = (name, wei, done) => order("reclaim", `Take back ${openAmount(wei)} OPEN`, "Take back", `The bond of ${name} goes to the account that registered it.`, "The OPEN are in the wallet.", name, done);

// The bond that a Datanet asks for and the wallet's own, in a sentence; null without either.
export const bondTerms = (bond) => bond && `${bond.least_wei === "0" ? "none now" : `at least ${openAmount(bond.least_wei)} OPEN behind your batches`}; you have ${openAmount(bond.covers_wei)}`;

const typed = (wei) => openAmount(wei, 18).replaceAll(",", "").replace(/\.?0+$/, "");

export const lacks = (bond) => bond ? BigInt(bond.least_wei) - BigInt(bond.covers_wei) : 0n;

export const postBond = ({ id, bond }, done) => {
  const other = bond.held_wei !== "0" && bond.covers_wei === "0" && bond.leaving_wei !== bond.held_wei, wei = String(other ? 0n : lacks(bond));
  return act({ title: other ? "Agree to who decides" : `Post ${openAmount(wei)} OPEN`, verb: "datanet bond", args: { datanet: id, amount_wei: wei, for: null }, words: `datanet bond ${id} ${typed(wei)}`, does: other ? "Agree" : "Post", wei: other ? null : wei, next: "The owner can take your batch once this is final.", done });
};

export const takeBack = ({ id }, done) => act({ title: "Take the bond back", verb: "datanet unbond", args: { datanet: id, amount_wei: null }, words: `datanet unbond ${id}`, does: "Take back", done });
