"""`limits`: how much of this machine and of your money the node may use."""

from typing import Annotated, Any

import typer

from ..config import Config
from ..engine.budget import disk_bytes, is_on_gpu
from ..errors import ConfigError, InputError
from ..home import Home
from ..hours import read_hours
from ..operator.limits import changed_limits, limits_to_plain
from ..settings_file import write_settings
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import emit_json, say, show_changes, show_lines
from .units import bytes_of, open_amount, size, wei_of

app = typer.Typer(help="How much of this machine and of your money the node may use.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

CAP_BYTES_MIN = 64 << 20
"""Even the demo base needs more than this."""


@app.command()
def show(as_json: Json = False) -> None:
    """Show the limits, and how much of each is in use."""
    home = open_node_home()
    _print(ask_daemon(home, "GET", "/limits") or stopped_limits(home), as_json=as_json)


@app.command("set")
def set_limits(
    vram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most GPU memory for the engine, such as 20GB; 0 is no limit.")
    ] = None,
    ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most main memory for the engine; 0 is no limit.")
    ] = None,
    disk: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most disk for models, adapters and caches; 0 is no limit.")
    ] = None,
    hours: Annotated[
        str | None,
        typer.Option(
            help="Hours to serve in, such as '22:00-07:00' or 'mon-fri 18:00-23:00, sat-sun'; '' is always."
        ),
    ] = None,
    pause_when_busy: Annotated[
        bool | None, typer.Option(help="Pause while another program uses an NVIDIA GPU of this machine.")
    ] = None,
    request_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Most OPEN that one request to others may cost.")
    ] = None,
    day_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Most OPEN that requests to others may cost per UTC day.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change limits, now and for later starts.

    A lower memory limit takes effect when no request is running, because the engine restarts for it.
    """
    wanted: dict[str, Any] = {
        "vram_bytes": None if vram is None else bytes_of(vram),
        "ram_bytes": None if ram is None else bytes_of(ram),
        "disk_bytes": None if disk is None else bytes_of(disk),
        "hours": None if hours is None else _hours_of(hours),
        "pause_when_busy": pause_when_busy,
        "request_max_wei": None if request_max is None else wei_of(request_max),
        "day_max_wei": None if day_max is None else wei_of(day_max),
    }
    if all(value is None for value in wanted.values()):
        raise InputError("give a limit to set; `openledger-node limits set --help` lists them")
    home = open_node_home()
    former = ask_daemon(home, "GET", "/limits") or stopped_limits(home)
    found = ask_daemon(home, "POST", "/limits", wanted) or _set_stopped(home, wanted)
    if as_json:
        emit_json("limits", found)
    else:
        show_changes(_limit_lines(former), _limit_lines(found))
    if vram:
        note_unused_vram(load_settings(home))
    for variable in found["overridden_by"]:
        say(f"[yellow]{variable} is set and overrides node.toml at the next start[/]")


def note_unused_vram(config: Config) -> None:
    """Say that a limit of GPU memory has no effect where the engine uses no GPU."""
    if config.limits.vram_bytes and not is_on_gpu(config.inference.device):
        say("[yellow]note[/] the engine uses no GPU here, so --vram has no effect; --ram limits the main memory")


def stopped_limits(home: Home) -> dict[str, Any]:
    """Return the limits of a stopped node."""
    config = load_settings(home)
    return {
        **limits_to_plain(config.limits, config.payer, serves=config.node.serve),
        "used": {"memory_bytes": 0, "disk_bytes": disk_bytes(home), "spent_today_wei": None},
        "overridden_by": [],
    }


def _set_stopped(home: Home, wanted: dict[str, Any]) -> dict[str, Any]:
    for name in ("vram_bytes", "ram_bytes", "disk_bytes"):
        _check_cap(wanted[name])
    config = load_settings(home)
    _, _, changes = changed_limits(config.limits, config.payer, wanted)
    write_settings(home.config_file, changes)
    return stopped_limits(home)


def _check_cap(size_bytes: int | None) -> None:
    """Refuse a cap that is too small for any base; a running node compares it with its own base."""
    if size_bytes and size_bytes < CAP_BYTES_MIN:
        meant = f"did you mean {size_bytes}GB?" if size_bytes < 1000 else "give more, or 0 for no limit"
        raise InputError(f"{size(size_bytes)} is less than the smallest base needs: {meant}")


def _hours_of(text: str) -> str:
    try:
        read_hours(text)
    except ConfigError as error:
        raise InputError(str(error)) from error
    return text


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json("limits", found)
        return
    lines, used = _limit_lines(found), found["used"]
    lines["disk"] = f"{size(used['disk_bytes'])} in use, {lines['disk']}"
    if used["memory_bytes"] is not None and found["serve"]:
        lines["engine"] = f"{size(used['memory_bytes'])} in use (GPU memory; RAM without a GPU)"
    if used["spent_today_wei"] is not None:
        lines["a day"] = f"{open_amount(used['spent_today_wei'])} spent, {lines['a day']}"
    show_lines(lines)


def _limit_lines(found: dict[str, Any]) -> dict[str, str]:
    lines = {"disk": _cap(found["disk_bytes"])}
    if found["serve"]:
        lines |= {
            "GPU memory": _cap(found["vram_bytes"]),
            "memory": _cap(found["ram_bytes"]),
            "hours": found["hours"] or "always",
            "when busy": (
                "pauses while another program uses the GPU"
                if found["pause_when_busy"]
                else "keeps running; to pause instead: `openledger-node limits set --pause-when-busy`"
            ),
        }
    lines["a request"] = f"at most {open_amount(found['request_max_wei'])}"
    lines["a day"] = f"at most {open_amount(found['day_max_wei'])}"
    return lines


def _cap(size_bytes: int) -> str:
    return f"at most {size(size_bytes)}" if size_bytes else "no limit"
