#!/usr/bin/env node
// Runs forge and ends as it ends. The launcher that comes with its package ends with 0 even when tests have failed.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const CPUS = { x64: "amd64", arm64: "arm64" };

function binary() {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const name = `@foundry-rs/forge-${process.platform}-${CPUS[process.arch]}/bin/forge${suffix}`;
  // The package of this machine is a dependency of forge's own, so it is looked for from there.
  return createRequire(require.resolve("@foundry-rs/forge/package.json")).resolve(name);
}

const run = spawnSync(binary(), process.argv.slice(2), { stdio: "inherit" });
if (run.error) throw run.error;
process.exit(run.status ?? 1);
