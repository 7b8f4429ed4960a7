"""Write requirements/*.lock: every package with its hashes, without torch and its own dependencies.

torch is installed first, from a range of versions, so that operators can choose the build for their GPU.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = [
    *("uv", "pip", "compile", "--universal", "--python-version", "3.11", "--quiet"),
    *("--override", "requirements/overrides.txt", "--custom-compile-command", "make lock"),
]
LOCKS: dict[str, list[str]] = {"run": [], "dev": ["--group", "dev"]}


def main() -> None:
    for name, groups in LOCKS.items():
        resolution = compile_lock([*groups, "pyproject.toml"])
        left_out = [f"--no-emit-package={package}" for package in sorted(only_needed_by("torch", resolution))]
        output = f"requirements/{name}.lock"
        compile_lock([*groups, *left_out, "--generate-hashes", "pyproject.toml", "--output-file", output])
        print(f"{output}: {len(left_out)} packages of torch left out")


def compile_lock(arguments: list[str]) -> str:
    command = [sys.executable, "-m", *COMPILE, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def only_needed_by(root: str, resolution: str) -> set[str]:
    """Return `root` and each package that no package outside the returned set requires."""
    wanted_by = parse_annotations(resolution)
    left_out = {root}
    while more := {p for p, parents in wanted_by.items() if parents <= left_out} - left_out:
        left_out |= more
    return left_out


def parse_annotations(resolution: str) -> dict[str, set[str]]:
    """Parse uv's "# via" comments: package → the packages that require it."""
    wanted_by: dict[str, set[str]] = {}
    package = ""
    for line in resolution.splitlines():
        if match := re.match(r"([a-z0-9._-]+)==", line):
            package = match[1]
            wanted_by.setdefault(package, set())
        elif (match := re.match(r"\s+#\s+(?:via\s+)?([a-z0-9._-]+)", line)) and match[1] != "via":
            wanted_by[package].add(match[1])
    return wanted_by


if __name__ == "__main__":
    main()
