#!/usr/bin/env node
// Compile src/ and write what the node ships: one small JSON file a contract, the same bytes on every machine.
//
//   node build.mjs            write ../node/openledger_node/chain/artifacts/*.json
//   node build.mjs --check    write nothing; fail if a byte would differ

import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const here = path.dirname(fileURLToPath(import.meta.url));
const artifacts = path.join(here, "../node/openledger_node/chain/artifacts");

const CONTRACTS = [
  "AttributionRewards",
  "DatanetRegistry",
  "ModelRegistry",
  "NodeStaking",
  "OpenToken",
  "Params",
  "PaymentChannels",
];
// The same as in foundry.toml, so that what is tested is what is shipped.
const SETTINGS = {
  optimizer: { enabled: true, runs: 1_000_000 },
  viaIR: true,
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const IGNORED = new Set(["6335"]); // OpenZeppelin has a function `at`, a keyword to come
const CODE_SIZE_MAX = 24_576; // bytes; no network takes a larger contract

function compile() {
  const selection = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"];
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(CONTRACTS.map((name) => [`src/${name}.sol`, { content: read(`src/${name}.sol`) }])),
    settings: {
      ...SETTINGS,
      remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
      outputSelection: { "*": { "*": selection } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (file) => ({ contents: read(file) }) }));
  const errors = (output.errors ?? []).filter((error) => !IGNORED.has(error.errorCode));
  if (errors.length > 0) fail(errors.map((error) => error.formattedMessage).join("\n"));
  return output.contracts;
}

function artifactOf(name, compiled) {
  const size = compiled.evm.deployedBytecode.object.length / 2;
  if (size > CODE_SIZE_MAX) fail(`${name} has ${size} bytes, and ${CODE_SIZE_MAX} are allowed: split it`);
  return {
    contract: name,
    abi: compiled.abi,
    bytecode: `0x${compiled.evm.bytecode.object}`,
    compiler: solc.version().split(".Emscripten")[0],
    settings: SETTINGS,
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

function read(file) {
  return fs.readFileSync(path.join(here, file), "utf8");
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const check = process.argv.includes("--check");
const contracts = compile();
fs.mkdirSync(artifacts, { recursive: true });
const stale = CONTRACTS.filter((name) => {
  const file = path.join(artifacts, `${name}.json`);
  const text = JSON.stringify(artifactOf(name, contracts[`src/${name}.sol`][name])) + "\n";
  const same = fs.existsSync(file) && fs.readFileSync(file, "utf8") === text;
  if (!same && !check) fs.writeFileSync(file, text);
  return !same;
});
if (check && stale.length > 0) fail(`not what the sources give: ${stale.join(", ")}; run \`node build.mjs\` in contracts/`);
