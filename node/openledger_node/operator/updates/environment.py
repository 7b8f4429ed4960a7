"""A second environment beside the running one, with the same packages and another release of the program.

Its files are links to those of the running environment, so that torch is neither downloaded nor stored again. pip
never writes into a file that is installed: it removes it and writes another.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from ... import __version__
from ...errors import ConfigError, NodeError, explain_disk
from ...home import Home
from .manifest import ReleaseManifest
from .releases import PROGRAM, InstalledRelease, releases_folder

DISTRIBUTION: Final = "openledger-node"
PIP_S: Final = 7_200.0
CHECK_S: Final = 300.0
LAST_LINES: Final = 5
CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))

CHECK: Final = """
import json, sys
from pathlib import Path
from importlib.metadata import version
import openledger_node.daemon
from openledger_node.config import load_config
from openledger_node.ledger.migrations import MIGRATIONS
load_config(Path(sys.argv[1]))
print(json.dumps({"version": version("openledger-node"), "ledger": len(MIGRATIONS)}))
"""
"""The new release's check of itself: its parts load, and it understands the settings."""

Tell = Callable[[str], None]


def running_release() -> InstalledRelease:
    """The release of this process."""
    from ...ledger.migrations import MIGRATIONS  # loads SQLite

    return InstalledRelease(
        version=__version__, program=str(Path(sys.prefix) / "bin" / PROGRAM), ledger=len(MIGRATIONS)
    )


def why_not_here() -> str | None:
    """Why this installation can't update itself, and what to do instead; None if it can."""
    if any(mark.exists() for mark in CONTAINER_MARKS):
        return "this node runs in a container: pull or build the new image, and start it with the same volume"
    if is_checkout():
        return "this node runs from a checkout of the source: run `git pull`, and start it again with `make start`"
    if sys.prefix == sys.base_prefix:
        return "this node is not in an environment of its own: install it with `uv tool install` or `pipx install`"
    return None


def is_checkout() -> bool:
    """Return True if the program is the source tree itself, as after `make start`."""
    try:
        stated = distribution(DISTRIBUTION).read_text("direct_url.json")
        return bool(stated and json.loads(stated).get("dir_info", {}).get("editable"))
    except (PackageNotFoundError, ValueError, AttributeError):
        return True  # neither installed nor a wheel's


def install_release(
    home: Home, manifest: ReleaseManifest, wheel: Path, lock: Path, tell: Tell, *, running: Path | None = None
) -> InstalledRelease:
    """Make the environment of a release and check it. The running one, in `running`, stays as it is.

    Raises:
        NodeError: pip failed, or the release does not pass its own check; the environment is removed.
    """
    folder = releases_folder(home) / f"{manifest.version}-{secrets.token_hex(4)}"
    try:
        tell("making a second environment beside this one")
        _clone(running or Path(sys.prefix), folder)
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
        tell("installing the packages that have changed")
        _run(
            [*pip, "--quiet", "--require-hashes", "--requirement", str(lock)], PIP_S, "pip can't install the packages"
        )
        _run([*pip, "--quiet", "--no-index", str(wheel)], PIP_S, "pip can't install the release")
        tell("checking the new release")
        return _checked(home, folder, manifest)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise explain_disk(error, releases_folder(home)) from error
        raise


def _clone(running: Path, folder: Path) -> None:
    """Make a virtual environment whose packages are links to those of another one, without the program."""
    python = str(running / "bin" / "python")
    _run([python, "-m", "venv", "--without-pip", str(folder)], CHECK_S, "no environment can be made")
    source, target = _packages(running), _packages(folder)
    left_out = {"__pycache__", *_own_names(source)}
    for entry in source.iterdir():
        if entry.name in left_out:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(str(entry), str(target / entry.name))


def _packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _own_names(packages: Path) -> set[str]:
    """The files and folders that belong to the program, and to what its wheel brings along.

    Raises:
        NodeError: the program is there twice, as after an installation that was cut off, or not at all.
    """
    records = list(packages.glob("openledger_node-*.dist-info/RECORD"))
    if len(records) != 1:
        raise NodeError(
            f"{packages} holds {len(records)} installations of {DISTRIBUTION}: remove them and install it again, "
            "with `uv tool install` or `pipx install`"
        )
    paths = (line.rpartition(",")[0].rpartition(",")[0] for line in records[0].read_text("utf-8").splitlines())
    return {first for path in paths if (first := path.strip('"').partition("/")[0]) not in ("", "..")}


def _link(source: str, target: str) -> str:
    """Link a file, or copy it to another disk."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _checked(home: Home, folder: Path, manifest: ReleaseManifest) -> InstalledRelease:
    """Have the release load itself and the settings.

    Raises:
        NodeError: it can't, or it is of another version than the manifest says.
    """
    python, program = folder / "bin" / "python", folder / "bin" / PROGRAM
    output = _run([str(python), "-c", CHECK, str(home.config_file)], CHECK_S, "the new release fails its own check")
    try:
        found = json.loads(output.strip().splitlines()[-1])
        version, ledger = str(found["version"]), int(found["ledger"])
    except (ValueError, LookupError, TypeError) as error:
        raise NodeError("the new release fails its own check: it does not say which version it is") from error
    if version != str(manifest.version) or not program.exists():
        raise NodeError(f"the wheel holds version {version}, and the manifest says {manifest.version}")
    return InstalledRelease(version=version, program=str(program), ledger=ledger)


def _run(command: Sequence[str], timeout_s: float, what: str) -> str:
    """Run a program without this process's Python settings, and return its output.

    Raises:
        NodeError: it failed or took too long; the message ends with its last lines.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    try:
        ran = subprocess.run(
            command,
            env=kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"{what}: it took longer than {timeout_s:.0f} s") from error
    except OSError as error:
        raise ConfigError(f"{what}: {command[0]} can't be run ({error.strerror})") from error
    if ran.returncode:
        last = " ".join(ran.stderr.strip().splitlines()[-LAST_LINES:]) or f"status {ran.returncode}"
        raise NodeError(f"{what}: {last}")
    return ran.stdout
