#!/usr/bin/env node
// Has slither, a static analyzer, read what forge compiles of src/. Fails if it finds anything of medium or high impact.
// Its settings are in slither.config.json.
//
// `make slither` installs it and runs this file. A slither in the PATH will do as well.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { runForge } from "./forge.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
// slither asks the program `forge` for the settings in foundry.toml.
const folders = ["../.venv-slither/bin", "node_modules/.bin"].map((folder) => path.join(here, folder));
const env = { ...process.env, PATH: [...folders, process.env.PATH].join(path.delimiter) };

function slither(args) {
  return spawnSync("slither", args, { cwd: here, env, stdio: "inherit" });
}

/** The exit status of forge if `src` does not compile, else that of slither. */
function analyze(folder) {
  // A folder of its own, because slither reads every compilation that it finds there.
  const [out, cache] = [path.join(folder, "out"), path.join(folder, "cache")];
  const status = runForge(["build", "src", "--quiet", "--build-info", "--out", out, "--cache-path", cache]);
  return status || (slither([".", "--ignore-compile", "--foundry-out-directory", out]).status ?? 1);
}

if (slither(["--version"]).error) {
  console.error("slither is not installed. Run `make slither` in the folder above, which installs it, or put it into the PATH.");
  process.exit(1);
}
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "slither-"));
const status = analyze(folder);
fs.rmSync(folder, { recursive: true });
process.exit(status);
