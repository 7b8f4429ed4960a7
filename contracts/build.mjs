#!/usr/bin/env node
// Compile with forge and write what the node ships: one small JSON file a contract, the same bytes on every machine.
// The tests deploy the very code that is shipped, since both are one compilation.
//
//   node build.mjs            write ../node/openledger_node/chain/artifacts/*.json
//   node build.mjs --check    write nothing; fail if a byte would differ

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { runForge } from "./tools/forge.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const artifacts = path.join(here, "../node/openledger_node/chain/artifacts");

const CONTRACTS = [
  "AttributionRewards",
  "DatanetRegistry",
  "ModelRegistry",
  "NodeStaking",
  "OpenGovernor",
  "OpenToken",
  "Params",
  "PaymentChannels",
  "Timelock",
  "WrappedVotes",
];
// A contract of a stranger, for pytest: a stable coin, which has neither permits nor votes.
const TEST_CONTRACTS = { BlockingToken: "OddTokens" };
const testArtifacts = path.join(here, "../tests/support/chain_world/artifacts");
const CODE_SIZE_MAX = 24_576; // bytes; no network takes a larger contract

function artifactOf(name, source = name) {
  const compiled = JSON.parse(fs.readFileSync(path.join(here, `out/${source}.sol/${name}.json`), "utf8"));
  const { compiler, settings } = compiled.metadata;
  const size = (compiled.deployedBytecode.object.length - 2) / 2;
  if (size > CODE_SIZE_MAX) fail(`${name} has ${size} bytes, and ${CODE_SIZE_MAX} are allowed: split it`);
  return {
    contract: name,
    abi: compiled.abi,
    bytecode: compiled.bytecode.object,
    compiler: compiler.version,
    settings: {
      optimizer: settings.optimizer,
      viaIR: settings.viaIR,
      evmVersion: settings.evmVersion,
      metadata: settings.metadata,
    },
    storageLayout: layoutOf(compiled.storageLayout),
  };
}

// Where a reader of raw storage finds each variable. The compiler's type names hold numbers of syntax nodes; its labels
// do not, and say the same.
function layoutOf(layout) {
  const types = layout.types ?? {};
  const place = ({ label, slot, offset, type }) => ({ label, slot: Number(slot), offset, type: types[type].label });
  const structs = Object.values(types)
    .filter((type) => type.members)
    .map((type) => [type.label, { bytes: Number(type.numberOfBytes), members: type.members.map(place) }])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return { variables: layout.storage.map(place), structs: Object.fromEntries(structs) };
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const check = process.argv.includes("--check");
const status = runForge(["build", "--quiet"]);
if (status !== 0) process.exit(status);
const wanted = [
  ...CONTRACTS.map((name) => [name, path.join(artifacts, `${name}.json`), artifactOf(name)]),
  ...Object.entries(TEST_CONTRACTS).map(([name, source]) => {
    const { abi, bytecode } = artifactOf(name, source);
    return [name, path.join(testArtifacts, `${name}.json`), { contract: name, abi, bytecode }];
  }),
];
const stale = wanted.filter(([, file, artifact]) => {
  const text = JSON.stringify(artifact) + "\n";
  const same = fs.existsSync(file) && fs.readFileSync(file, "utf8") === text;
  if (!same && !check) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  return !same;
});
if (check && stale.length > 0) fail(`not what the sources give: ${stale.map(([name]) => name).join(", ")}; run \`node build.mjs\` in contracts/`);
