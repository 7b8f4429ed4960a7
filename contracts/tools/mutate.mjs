#!/usr/bin/env node
// Seeds one bug after another into the sources and runs the tests on each: a bug that no test notices is printed.
//
//   node tools/mutate.mjs                       all bugs of all files: hours
//   node tools/mutate.mjs --every 5 Openings    each fifth bug of the files whose path holds this word
//
// Works on a copy, whose sources are compiled without the optimizer, in a third of the time. So gas is not looked at.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("..", import.meta.url));
const SKIPPED = "Gas.*Test|LargestTest"; // they measure optimized code
const QUICKLY = { ...process.env, FOUNDRY_FUZZ_RUNS: "32", FOUNDRY_INVARIANT_RUNS: "4" };

// What is changed in a line of code, and to what. A guard is removed as a whole.
const CHANGES = [
  [/^(\s*)if \(.*\) revert .*;$/, "$1"],
  [/ < /, " <= "],
  [/ <= /, " < "],
  [/ > /, " >= "],
  [/ >= /, " > "],
  [/ == /, " != "],
  [/ != /, " == "],
  [/ \+ /, " - "],
  [/ - /, " + "],
  [/ \+= /, " -= "],
  [/ -= /, " += "],
  [/ && /, " || "],
  [/ \|\| /, " && "],
  [/ \/ /, " * "],
  [/ % /, " / "],
  [/^(\s*)(\+\+|delete )[^;]*;$/, "$1"],
];

function sources() {
  const found = fs.readdirSync(path.join(here, "src"), { recursive: true }).map(String);
  return found.filter((file) => file.endsWith(".sol") && !file.startsWith("interfaces"));
}

/** Every bug of a file: the number of the line, and the line as it becomes. */
function bugsOf(file) {
  const lines = fs.readFileSync(path.join(here, "src", file), "utf8").split("\n");
  const isCode = (line) => !/^\s*(\/\/|\*|import|using|pragma|for )/.test(line);
  return lines.flatMap((line, at) => {
    if (!isCode(line)) return [];
    const [code, comment = ""] = line.split(/(?= \/\/ )/);
    const changed = CHANGES.filter(([from]) => from.test(code)).map(([from, to]) => code.replace(from, to) + comment);
    return changed.map((to) => ({ file, at, from: line, to }));
  });
}

/** A copy of this folder in which forge compiles quickly. */
function copy() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "mutants-"));
  const to = path.join(folder, "contracts");
  const isWanted = (from) => !/^(node_modules|out|cache)$/.test(path.relative(here, from));
  fs.cpSync(here, to, { recursive: true, filter: isWanted });
  fs.mkdirSync(path.join(folder, "tests"));
  fs.symlinkSync(path.join(here, "../tests/vectors"), path.join(folder, "tests/vectors"));
  fs.symlinkSync(path.join(here, "node_modules"), path.join(to, "node_modules"));
  const config = path.join(to, "foundry.toml");
  const slow = fs.readFileSync(config, "utf8");
  const quick = slow
    .replace("via_ir = true, optimizer = true, optimizer_runs = 1000000", "via_ir = true, optimizer = false")
    .replaceAll("via_ir = true, min_optimizer_runs = 1000000", "via_ir = true");
  fs.writeFileSync(config, quick);
  return to;
}

function forge(folder, args) {
  return spawnSync("node", [path.join(folder, "tools/forge.mjs"), ...args], { cwd: folder, env: QUICKLY, encoding: "utf8" });
}

/** "caught", "SURVIVED", or "no bug" if it does not compile. */
function verdictOn(folder, bug) {
  const file = path.join(folder, "src", bug.file);
  const sound = fs.readFileSync(file, "utf8");
  const lines = sound.split("\n");
  lines[bug.at] = bug.to;
  fs.writeFileSync(file, lines.join("\n"));
  const built = forge(folder, ["build", "--quiet"]);
  const tested = built.status === 0 ? forge(folder, ["test", "--fail-fast", "--no-match-contract", SKIPPED]) : null;
  fs.writeFileSync(file, sound);
  if (tested === null) return "no bug";
  return tested.status === 0 ? "SURVIVED" : "caught";
}

const args = process.argv.slice(2);
const every = args[0] === "--every" ? Number(args.splice(0, 2)[1]) : 1;
const bugs = sources()
  .filter((file) => args.length === 0 || args.some((word) => file.includes(word)))
  .flatMap(bugsOf)
  .filter((_, i) => i % every === 0);
const folder = copy();
if (forge(folder, ["test", "--no-match-contract", SKIPPED]).status !== 0) throw new Error("the tests fail already");
const counts = { caught: 0, SURVIVED: 0, "no bug": 0 };
for (const [i, bug] of bugs.entries()) {
  const verdict = verdictOn(folder, bug);
  counts[verdict] += 1;
  console.error(`${i + 1}/${bugs.length} ${verdict} ${bug.file}:${bug.at + 1}`);
  if (verdict === "SURVIVED") console.log(`${bug.file}:${bug.at + 1}\n  - ${bug.from.trim()}\n  + ${bug.to.trim()}`);
}
fs.rmSync(path.dirname(folder), { recursive: true });
console.log(`${counts.caught} of ${counts.caught + counts.SURVIVED} bugs caught; ${counts["no bug"]} did not compile`);
process.exit(counts.SURVIVED > 0 ? 1 : 0);
