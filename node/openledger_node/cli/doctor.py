"""`doctor`: read-only checks, each with what it found and, where it fails, what to do."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

import typer

from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.errors import ProtocolError

from ..config import Config, load_config
from ..errors import ModelError, NodeError
from ..home import Home
from ..inference.adapters import read_shelf
from ..inference.bases import Base, find_base, is_here
from ..keys import api_key_file, load_api_key
from ..ledger.ledger import open_ledger
from .context import ask_daemon, network_id, open_node_home
from .render import emit_json, out_console, plain

PROBLEMS_FOUND = 8
PYTHON_MIN = (3, 11)
DISK_FREE_MIN_BYTES = 2 << 30
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw; `fix` is empty where nothing is wrong."""

    check: str
    is_ok: bool
    found: str
    fix: str = ""


def add_verbs(app: typer.Typer) -> None:
    """Hang `doctor` on the root."""
    app.command(rich_help_panel="Node")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Check this machine and this node; nothing is changed. Exit code 8 if something needs you."""
    home = open_node_home()
    findings = [_look(name, check, home) for name, check in CHECKS.items()]
    num_problems = sum(not finding.is_ok for finding in findings)
    if as_json:
        emit_json("doctor", {"problems": num_problems, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
        verdict = "1 problem" if num_problems == 1 else f"{num_problems} problems"
        out_console.print(f"\n{verdict}" if num_problems else "\nall is well")
    if num_problems:
        raise typer.Exit(PROBLEMS_FOUND)


Check = Callable[[Home], tuple[str, str]]
"""Returns what was found, and what to do about it ("" if it is well); may raise what the node itself would."""


def _look(name: str, check: Check, home: Home) -> Finding:
    try:
        found, fix = check(home)
    except (NodeError, ProtocolError) as error:
        found, fix = "no", str(error)
    return Finding(check=name, is_ok=not fix, found=found, fix=fix)


def _show(finding: Finding) -> None:
    mark = "[green]ok  [/]" if finding.is_ok else "[red]FAIL[/]"
    out_console.print(f"{mark} {finding.check:<10} {plain(finding.found)}")
    if finding.fix:
        out_console.print(f"                → {plain(finding.fix)}")


def _config(home: Home) -> Config:
    return load_config(home.config_file)[0]


def _base(home: Home) -> Base:
    return find_base(home, _config(home).inference.base)


def _has_base(home: Home) -> bool:
    """Whether checks that look at the base can look at one; `check_base` says what to do if not."""
    try:
        return bool(_base(home))
    except ModelError:
        return False


def check_python(_: Home) -> tuple[str, str]:
    """The interpreter is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    return found, "" if sys.version_info >= PYTHON_MIN else "install Python 3.11 or newer"


def check_torch(_: Home) -> tuple[str, str]:
    """Torch is installed; it is not imported, which takes seconds."""
    try:
        return version("torch"), ""
    except PackageNotFoundError:
        return "missing", "run `pip install 'torch>=2.6,<3'`"


def check_device(_: Home) -> tuple[str, str]:
    """Torch's build fits the card, as far as can be seen without loading it."""
    has_card = shutil.which("nvidia-smi") is not None
    if has_card and version("torch").endswith("+cpu"):
        return "an NVIDIA card, and torch's CPU build", "install torch's CUDA build: README.md, requirements"
    return "an NVIDIA card" if has_card else "no NVIDIA card: the engine runs on the CPU, or on Apple's GPU", ""


def check_memory(home: Home) -> tuple[str, str]:
    """The base fits into memory, with as much again for everything else."""
    if not _has_base(home):
        return "not looked at before the base is here", ""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    folder = _base(home).folder
    needed = 2 * sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0
    found = f"{total / GIB:.1f} GiB, the base wants about {needed / GIB:.1f}"
    return found, "" if total >= needed else "choose a smaller base: [inference] base"


def check_disk(home: Home) -> tuple[str, str]:
    """There is room for a base, adapters and the ledger."""
    free = shutil.disk_usage(home.root).free
    fix = f"free some space, or set OPENLEDGER_HOME to a larger disk than that of {home.root}"
    return f"{free / GIB:.1f} GiB free", "" if free >= DISK_FREE_MIN_BYTES else fix


def check_settings(home: Home) -> tuple[str, str]:
    """node.toml and the environment are understood."""
    _config(home)
    return str(home.config_file) if home.config_file.exists() else "all defaults", ""


def check_base(home: Home) -> tuple[str, str]:
    """The base that is to be served is here and whole."""
    if _config(home).inference.base == DEMO_BASE_NAME and not is_here(home, DEMO_BASE_NAME):
        return "the demo base, which the first start fetches", ""
    base = _base(home)
    return f"{base.name} ({base.digest[:18]}…)", ""


def check_adapters(home: Home) -> tuple[str, str]:
    """Every adapter on the shelf is whole and made for the base."""
    shelf = read_shelf(home)
    adapters = shelf.adapters
    if shelf.refused:
        return f"{len(adapters)} here", "not served: " + "; ".join(shelf.refused.values())
    if not _has_base(home):
        return f"{len(adapters)} here", ""
    base = _base(home)
    foreign = [adapter.full_name for adapter in adapters if adapter.manifest.base.digest != base.digest]
    fix = f"made for another base, and not served: {', '.join(foreign)}" if foreign else ""
    return f"{len(adapters)} here", fix


def check_key(home: Home) -> tuple[str, str]:
    """The API key, if there is one yet, is its owner's alone."""
    if not api_key_file(home).exists():
        return "drawn at the first start", ""
    load_api_key(home)
    return str(api_key_file(home)), ""


def check_ledger(home: Home) -> tuple[str, str]:
    """The ledger opens and its pages are sound."""
    file = home.ledger(network_id(home))
    if not file.exists():
        return "made at the first start", ""
    open_ledger(file, is_writer=False).close()
    return str(file), ""


def check_port(home: Home) -> tuple[str, str]:
    """The API's port is free, or ours."""
    api = _config(home).api
    if ask_daemon(home, "GET", "/status"):
        return "in use by this node", ""
    with socket.socket(socket.AF_INET6 if ":" in api.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((api.host, api.port))
        except OSError as error:
            return f"{api.host}:{api.port}: {error.strerror}", "stop what uses it, or set [api] port"
    return f"{api.host}:{api.port} is free", ""


def check_daemon(home: Home) -> tuple[str, str]:
    """A daemon that runs answers, and so does its engine."""
    status = ask_daemon(home, "GET", "/status")
    if status is None:
        return "not running", ""
    restarts = status["engine"]["restarts"]
    fix = f"the engine was restarted {restarts} times: see {home.logs / 'engine.log'}" if restarts else ""
    return f"{status['state']}, engine {status['engine']['state']}", fix


def check_download(_: Home) -> tuple[str, str]:
    """Pip is here, which `models pull` asks where the demo base lies."""
    return ("pip is here", "") if find_spec("pip") else ("no pip", "run `python -m ensurepip`")


CHECKS: dict[str, Check] = {
    "python": check_python,
    "torch": check_torch,
    "device": check_device,
    "settings": check_settings,
    "base": check_base,
    "adapters": check_adapters,
    "memory": check_memory,
    "disk": check_disk,
    "download": check_download,
    "api key": check_key,
    "ledger": check_ledger,
    "port": check_port,
    "daemon": check_daemon,
}
