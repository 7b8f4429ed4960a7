"""One real training for all tests that need its adapter: the demo base taught the sample Datanet by `factory train`.

A training takes a minute and more of two cores. The first test that asks for it trains, the others wait for its lock
and find it, in whatever process they run. It is kept in the test home until the code that it came from changes.
"""

import fcntl
import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from support.processes.nodes import ROOT, TEST_HOME, command_json

from openledger_node.home import Home

SEED = 2
NAME = "lake"
FLAGS = ("--sample", "--name", NAME, "--seed", str(SEED), "--epochs", "4", "--evaluate", "4")
"""The smallest training that still teaches: after 4 epochs nearly all facts are known, after 2 few are."""

SOURCES = ("node", "protocol", "requirements")
PACKAGES = ("torch", "transformers", "peft")
TRAININGS = TEST_HOME.root / "trained"
RESULT_FILE = "trained.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedHome:
    """A data directory with the base, the trained adapter, its Datanet version and its run. Write to copies only."""

    home: Home
    printed: dict[str, Any]  # by `factory train --json`

    @property
    def adapter(self) -> Path:
        return Path(self.printed["folder"])

    def copy_to(self, root: Path) -> Home:
        """A copy that a test may start a node in and write to; the base's files are shared."""
        ignored = shutil.ignore_patterns("*.sock")
        shutil.copytree(self.home.root, root, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        return Home(root)


def trained_home() -> TrainedHome:
    """The home of the one real training, trained now if this is the first call since its code changed."""
    TRAININGS.mkdir(mode=0o700, exist_ok=True)
    with (TRAININGS / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = TRAININGS / fingerprint()
        if not (root / RESULT_FILE).exists():
            for folder in TRAININGS.iterdir():
                if folder.is_dir():
                    shutil.rmtree(folder)
            _train(root)
    return TrainedHome(home=Home(root), printed=json.loads((root / RESULT_FILE).read_text()))


def fingerprint() -> str:
    """A digest of what the training depends on: its flags, our code, the locked dependencies and the base."""
    digest = hashlib.sha256(repr((FLAGS, [version(package) for package in PACKAGES])).encode())
    files = [file for name in SOURCES for file in (ROOT / name).rglob("*") if file.suffix in (".py", ".lock")]
    for file in (*sorted(files), *sorted(TEST_HOME.models.glob("*/base.json"))):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _train(root: Path) -> None:
    root.mkdir(mode=0o700)
    (root / "models").symlink_to(TEST_HOME.models)
    printed = command_json(Home(root), "factory", "train", *FLAGS)
    (root / RESULT_FILE).write_text(json.dumps(printed))  # last, so that a training that was cut off is none
