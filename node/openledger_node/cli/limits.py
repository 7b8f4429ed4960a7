"""`limits`: how much of this machine and of your money the node may take."""

from typing import Annotated, Any

import typer

from ..engine.budget import disk_bytes
from ..home import Home
from ..operator.limits import changed_limits, limits_to_plain
from ..settings_file import write_settings
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import emit_json, say, show_lines
from .units import bytes_of, open_amount, size, wei_of

app = typer.Typer(help="How much of this machine and of your money the node may take.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

CAPS = ("vram_bytes", "ram_bytes", "disk_bytes")
CAP_BYTES_MIN = 64 << 20
"""The demonstration base needs more than this."""


@app.command()
def show(as_json: Json = False) -> None:
    """Show the limits, and how much of each is taken."""
    home = open_node_home()
    _print(ask_daemon(home, "GET", "/limits") or stopped_limits(home), as_json=as_json)


@app.command("set")
def set_limits(
    vram: Annotated[str | None, typer.Option(help="GPU memory for the engine, like 20GB; 0: no cap.")] = None,
    ram: Annotated[str | None, typer.Option(help="Main memory for the engine; 0: no cap.")] = None,
    disk: Annotated[str | None, typer.Option(help="Disk for models, adapters and caches; 0: no cap.")] = None,
    hours: Annotated[
        str | None,
        typer.Option(help="When it may serve, like '22:00-07:00' or 'mon-fri 18:00-23:00, sat-sun'; '': always."),
    ] = None,
    pause_when_busy: Annotated[
        bool | None, typer.Option(help="Pause while another program uses the GPU, or the CPU without one.")
    ] = None,
    busy_gpu: Annotated[str | None, typer.Option(help="GPU memory from which on another program counts.")] = None,
    busy_cpu: Annotated[int | None, typer.Option(help="Percent of the CPU from which on others count.")] = None,
    busy_quiet: Annotated[float | None, typer.Option(help="Seconds of quiet before it goes on.")] = None,
    request_max: Annotated[str | None, typer.Option(help="OPEN that one request to others may cost.")] = None,
    day_max: Annotated[str | None, typer.Option(help="OPEN that a UTC day's requests may cost.")] = None,
    as_json: Json = False,
) -> None:
    """Let the node take more, or less: from now on, and after each start.

    Less memory is taken as soon as nothing runs: the engine starts anew.
    """
    wanted: dict[str, Any] = {
        "vram_bytes": bytes_of(vram) if vram else None,
        "ram_bytes": bytes_of(ram) if ram else None,
        "disk_bytes": bytes_of(disk) if disk else None,
        "hours": hours,
        "pause_when_busy": pause_when_busy,
        "busy_gpu_bytes": bytes_of(busy_gpu) if busy_gpu else None,
        "busy_cpu_percent": busy_cpu,
        "busy_quiet_s": busy_quiet,
        "request_max_wei": wei_of(request_max) if request_max else None,
        "day_max_wei": wei_of(day_max) if day_max else None,
    }
    if all(value is None for value in wanted.values()):
        raise typer.BadParameter("say a limit: `openledger-node limits set --help` lists them")
    home = open_node_home()
    found = ask_daemon(home, "POST", "/limits", wanted)
    if found is None:
        found = _set_stopped(home, wanted)
    _print(found, as_json=as_json)
    for variable in found["overridden_by"]:
        say(f"[yellow]{variable} is set, and goes before node.toml at the next start[/]")


def stopped_limits(home: Home) -> dict[str, Any]:
    """The limits of a home whose daemon is down."""
    config = load_settings(home)
    return {
        **limits_to_plain(config.limits, config.payer, serves=config.node.serve),
        "used": {"memory_bytes": 0, "disk_bytes": disk_bytes(home), "spent_today_wei": None},
        "overridden_by": [],
    }


def _set_stopped(home: Home, wanted: dict[str, Any]) -> dict[str, Any]:
    for name in CAPS:
        _check_cap(wanted[name])
    config = load_settings(home)
    _, _, changes = changed_limits(config.limits, config.payer, wanted)
    write_settings(home.config_file, changes)
    return stopped_limits(home)


def _check_cap(size_bytes: int | None) -> None:
    """Refuse a cap under which nothing could run; a running node refuses by what its base takes."""
    if size_bytes and size_bytes < CAP_BYTES_MIN:
        meant = f"did you mean {size_bytes}GB?" if size_bytes < 1000 else "say more, or 0 for no cap"
        raise typer.BadParameter(f"{size(size_bytes)} is less than the smallest base needs: {meant}")


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json("limits", found)
        return
    used = found["used"]
    lines = {"disk": f"{size(used['disk_bytes'])} of {_cap(found['disk_bytes'])}"}
    if found["serve"]:
        if used["memory_bytes"] is not None:
            lines["engine"] = f"{size(used['memory_bytes'])} of GPU memory, or of memory where there is no GPU"
        lines |= {
            "GPU memory": _cap(found["vram_bytes"]),
            "memory": _cap(found["ram_bytes"]),
            "hours": found["hours"] or "always",
            "when busy": _busy(found),
        }
    spent = "" if used["spent_today_wei"] is None else f"{open_amount(used['spent_today_wei'])} of "
    lines |= {
        "a request": f"at most {open_amount(found['request_max_wei'])}",
        "a day": f"{spent}at most {open_amount(found['day_max_wei'])}",
    }
    show_lines(lines)


def _cap(size_bytes: int) -> str:
    return size(size_bytes) if size_bytes else "no cap"


def _busy(found: dict[str, Any]) -> str:
    if not found["pause_when_busy"]:
        return "goes on: `openledger-node limits set --pause-when-busy` lets it stand aside"
    return (
        f"stands aside while another program has {size(found['busy_gpu_bytes'])} of the GPU, or without one "
        f"{found['busy_cpu_percent']} % of the CPU; goes on after {found['busy_quiet_s']:g} s of quiet"
    )
