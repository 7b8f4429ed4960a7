"""`models`: base models on this machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from ..engine.budget import check_disk_room
from ..errors import ConfigError, ModelError
from ..home import Home, is_training
from ..models.bases import Base, base_here, base_to_json, find_base, remove_base, stored_base
from ..models.download import pull_base
from ..models.gguf_base import backends_of
from ..models.gguf_head import OTHER_BACKENDS
from ..operator.adapters import models_to_plain
from ..operator.base_change import overridden, settings_for, written_name
from ..operator.base_look import hub_name
from ..settings_file import write_settings
from .base_check import ANYWAY_HELP, BaseCheck
from .daemon_client import SilentError, ask_daemon, load_settings, open_node_home
from .progress import StageReport
from .render import emit_json, out_console, plain, say, show_table
from .units import size

app = typer.Typer(help="Base models on this machine.", no_args_is_help=True)
CHECK_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.2
BETWEEN_S: Final = 60.0
"""Longest time in which a node may be silent while it starts again."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the bases on this machine, and models of Ollama and LM Studio that can be used at once.

    The base that `start` serves is marked.
    """
    home = open_node_home()
    listing = models_to_plain(home, load_settings(home).inference.base)
    if as_json:
        emit_json("models", listing)
        return
    rows = [
        ["*" if base["is_served"] else "", base["name"], base["digest"][:18] + "…", base["problem"] or base["folder"]]
        for base in listing["models"]
    ]
    show_table(["", "base", "digest", "folder"], rows, empty="no base is here yet: `openledger-node models pull`")
    _show_found(listing)


def _show_found(listing: dict[str, Any]) -> None:
    """Show the models of other programs."""
    if listing["found"]:
        out_console.print("\nin other programs, used where they are after `openledger-node models pull NAME`:")
        rows = [
            [
                each["source"],
                size(each["size_bytes"]),
                each["format"] or "?",
                each["family"],
                ", ".join(each["backends"]),
            ]
            for each in listing["found"]
        ]
        show_table(["name", "size", "format", "family", "served by"], rows, empty="")
    for source, reason in listing["refused"].items():
        say(f"[dim]not usable[/] {plain(source)}: {plain(reason)}")


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="The demo base; a Hugging Face model as OWNER/NAME or OWNER/NAME@REVISION; a GGUF file there as "
            "OWNER/NAME:Q4_K_M or OWNER/NAME/FILE.gguf; the path of a GGUF file; ollama:NAME:TAG; or "
            "lmstudio:OWNER/NAME."
        ),
    ] = DEMO_BASE_NAME,
    source: Annotated[
        Path | None, typer.Option("--from", help="GGUF file of the demo base, if it is already on this machine.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help=ANYWAY_HELP)] = False,
    as_json: Json = False,
) -> None:
    """Download a base and check it. A download that was interrupted resumes.

    A GGUF file on this machine is read once, and neither copied nor changed.

    Before the download, the command prints in which quantisations the base fits this machine, with how much context
    and with how many adapters. A base that fits in none is refused.
    """
    home = open_node_home()
    config = load_settings(home)
    check_disk_room(home, config.limits.disk_bytes)
    wanted = hub_name(name)
    if base_here(home, wanted) is None:
        BaseCheck(home, config, is_anyway=anyway).require_fit(wanted)
    with StageReport() as report:
        base = pull_base(home, wanted, source=source, report=report)
    if as_json:
        emit_json("model", base_to_json(base))
        return
    say(f"[bold]{base.name}[/] is ready in {base.folder}")
    if base.gguf and (backends := backends_of(base.gguf)) == OTHER_BACKENDS:
        say(f'only another backend serves it: set `\\[inference] backend` to "{backends[0]}"')


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="BASE", help="A base from `models list`.")],
    as_json: Json = False,
) -> None:
    """Remove a base from the data directory. Files of other programs stay where they are."""
    home = open_node_home()
    base = stored_base(home, name)
    done = ask_daemon(home, "POST", "/models/remove", {"base": name}, timeout_s=CHECK_TIMEOUT_S)
    freed_bytes = _remove_here(home, base) if done is None else done["freed_bytes"]
    if as_json:
        emit_json("model", {**base_to_json(base), "freed_bytes": freed_bytes})
        return
    kept = f"; {plain(str(base.gguf))} stays" if base.gguf and base.gguf.exists() else ""
    say(f"removed {plain(base.name)}, which frees {size(freed_bytes)}{kept}")
    if load_settings(home).inference.base in (base.name, base.source):
        say(f"the settings still name it: before the next start, run `openledger-node models pull {plain(name)}`")


@app.command()
def use(
    name: Annotated[str, typer.Argument(metavar="BASE", help="A base from `models list`.")],
    as_json: Json = False,
) -> None:
    """Serve another base. A running node finishes its answers and starts again by itself.

    Adapters of the old base wait in the library.
    """
    home = open_node_home()
    # NOTE: a path is relative to this command's directory, and hashing a new folder may take minutes.
    base = find_base(home, name)
    wanted = written_name(home, base)
    answer = ask_daemon(home, "POST", "/models/use", {"base": wanted}, timeout_s=CHECK_TIMEOUT_S)
    if answer:
        _follow_change(home, base, tell=(lambda _: None) if as_json else say)
    change = {**(answer or _write_base(home, wanted)), "why": None if answer else overridden()}
    if as_json:
        emit_json("base_change", change)
        return
    then = "the node serves it now" if answer else "the next `openledger-node start` serves it"
    say(f"[bold]{plain(change['to'])}[/] was {plain(change['from'])} before; {then}")
    if change["why"]:
        say(f"[yellow]note[/] {plain(change['why'])}")


def _write_base(home: Home, name: str) -> dict[str, Any]:
    """Write the base into node.toml, as `config set` does, since no daemon runs."""
    config = load_settings(home)
    changes = settings_for(home, config, name)
    write_settings(home.config_file, changes)
    return {"from": config.inference.base, "to": changes["inference.base"]}


def _follow_change(home: Home, base: Base, *, tell: Callable[[str], None]) -> None:
    """Wait until the node has started again and serves the base.

    Raises:
        ModelError: the base could not be loaded, or the node does not come back.
    """
    shown, came_at_s = "", time.monotonic()
    while True:
        try:
            status = ask_daemon(home, "GET", "/status", timeout_s=CHECK_TIMEOUT_S)
        except SilentError:  # a connection may end without an answer while the node starts again
            status = None
        if status:
            came_at_s, is_new = time.monotonic(), status["base"] == base.name and status["state"] != "draining"
            if is_new and status["engine"]["why_failed"]:
                raise ModelError(f"the node can't load {base.name}: {status['engine']['why_failed']}")
            if is_new and status["state"] != "starting":
                return
            words = "loading the base" if is_new else "running answers finish"
            if words != shown:
                shown = words
                tell(f"  {words} …")
        elif time.monotonic() - came_at_s > BETWEEN_S:
            raise ModelError(f"the node has ended: run `openledger-node start` to serve {base.name}")
        time.sleep(POLL_S)


def _remove_here(home: Home, base: Base) -> int:
    """Remove a base while no daemon runs, and return the bytes that this frees.

    Raises:
        ConfigError: a training may be reading it.
    """
    if is_training(home):
        raise ConfigError("a training is running and may use this base: wait until it ends")
    return remove_base(base)
