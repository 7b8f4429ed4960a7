#!/usr/bin/env node
// Runs forge and ends as it ends. The launcher that comes with its package ends with 0 even when tests have failed.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL("..", import.meta.url));
const CPUS = { x64: "amd64", arm64: "arm64" };

function binary() {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const name = `@foundry-rs/forge-${process.platform}-${CPUS[process.arch]}/bin/forge${suffix}`;
  // The package of this machine is a dependency of forge's own, so it is looked for from there.
  return createRequire(require.resolve("@foundry-rs/forge/package.json")).resolve(name);
}

/** Run forge on these contracts and return its exit status. */
export function runForge(args) {
  const run = spawnSync(binary(), args, { cwd: here, stdio: "inherit" });
  if (run.error) throw run.error;
  return run.status ?? 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) process.exit(runForge(process.argv.slice(2)));
