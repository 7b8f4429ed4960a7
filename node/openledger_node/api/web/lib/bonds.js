// The bond of a published adapter.
import { quoted } from "./cli.js";
import { act } from "./dialog.js";
import { open as openAmount } from "./format.js";

const order = (verb, title, does, sentence, next, name, done) => act({ title, sentence, verb: `adapters ${verb}`, args: { adapter: name }, words: `adapters ${verb} ${quoted(name)}`, does, next, done });

export const retireBond = (name, wei, done) => order("retire", `Retire ${name}`, "Retire", `Nobody can sell its answers any more, and this can’t be undone. What it has earned can be claimed until its bond of ${openAmount(wei)} OPEN is free.`, "Take the bond back when it is free: Money shows the time.", name, done);

export const reclaimBond = (name, wei, done) => order("reclaim", `Take back ${openAmount(wei)} OPEN`, "Take back", `The bond of ${name} goes to the account that registered it.`, "The OPEN are in the wallet.", name, done);
