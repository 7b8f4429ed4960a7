"""`status`: one screen about the node, running or stopped, with the reasons if it is idle."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from .. import __version__
from ..api_key import api_key_file
from ..home import CommandRunningError, Holder, Home
from ..operator.kept_pause import kept_pause
from ..p2p.scopes import endpoint_of
from ..text import counted
from .daemon_client import SilentError, ask_daemon, load_settings, network_id, open_node_home
from .render import emit_json, out_console, plain
from .units import local_time, open_amount, size

MARKS = {True: "ok", False: "NO", None: "–"}
LABEL_WIDTH = 9  # or the width of the longest label
UP_WITHIN_S: Final = 0.5
"""Longest wait for a daemon that is starting, so that the screen appears within a second."""


def add_commands(app: typer.Typer) -> None:
    """Add `status` to the root command."""
    app.command(rich_help_panel="Node")(status)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show what the node is doing or, if it is idle, why. This works while the node is stopped."""
    home = open_node_home()
    fields = look_at_node(home)
    if as_json:
        emit_json("status", fields)
        return
    lines = status_lines(fields)
    if fields["api"]["url"] and (found := ask_daemon(home, "POST", "/open")):
        lines["page"] = found["url"]
    width = max(LABEL_WIDTH, *map(len, lines))
    for label, value in lines.items():
        out_console.print(f"[dim]{plain(label):<{width}}[/] {plain(value)}")


def look_at_node(home: Home) -> dict[str, Any]:
    """Return the daemon's status, or read the files of a node that is starting or stopped.

    Raises:
        NodeError: the daemon runs but does not answer.
    """
    try:
        return ask_daemon(home, "GET", "/status", up_within_s=UP_WITHIN_S) or stopped_status(home)
    except CommandRunningError as error:
        return status_while_command_runs(home, error.holder)
    except SilentError as error:
        if not error.is_not_listening:
            raise
        return starting_status(home, error.holder)


def status_while_command_runs(home: Home, command: Holder) -> dict[str, Any]:
    """Return the status of a stopped node while a command holds its data directory and keeps it from starting."""
    why = f"the daemon is not running, and {command} is at work in this home; wait until it ends"
    return {**stopped_status(home), "why_idle": why, "suggestion": None}


def starting_status(home: Home, daemon: Holder) -> dict[str, Any]:
    """Return the status of a node whose daemon holds the lock and does not listen."""
    doing = daemon.doing or "starting or ending and does not listen; look again in a moment"
    why = f"{daemon} is {doing}"
    return {**stopped_status(home), "state": "starting", "why_idle": why, "suggestion": None}


def stopped_status(home: Home) -> dict[str, Any]:
    """Return the status of a stopped node."""
    config, pause = load_settings(home), kept_pause(home)
    start = "`openledger-node start` starts it paused" if pause else "`openledger-node start`"
    return {
        "state": "stopped",
        "chain": None,
        "why_idle": f"the daemon is not running: {start}",
        "checks": [],
        "suggestion": {"says": "start it", "cli": "openledger-node start"},
        "bids_lost": [],
        "paused": pause.to_plain() if pause else None,
        "limits": None,
        "api": {"url": None, "key_file": str(api_key_file(home)), "listen": []},
        "peer_id": None,
        "address": None,
        "network": network_id(home),
        "base": config.inference.base,
        "adapters": {"registered": len(list(home.adapters.glob("[!.]*/adapter.json"))), "resident": 0},
        "peers": 0,
        "reach": None,
        "version": __version__,
        "home": str(home.root),
    }


def status_lines(fields: dict[str, Any]) -> dict[str, str]:
    """Turn a status into the lines of one screen, label to text."""
    why = (fields["why_idle"] or "").removeprefix(f"{fields['state']} ")  # "training harbour, …"
    lines = {"state": fields["state"] + (f": {why}" if why else "")}
    if (paused := fields["paused"]) and paused["until"]:
        lines["until"] = local_time(paused["until"])
    if suggestion := fields["suggestion"]:
        lines["try"] = f"`{suggestion['cli']}` to {suggestion['says']}"
    lines |= _node_lines(fields) | _why_lines(fields)
    lines["home"] = fields["home"]
    return lines


def _node_lines(fields: dict[str, Any]) -> dict[str, str]:
    lines = {}
    if fields["api"]["url"]:
        lines["api"] = f"{fields['api']['url']}/v1   key in {fields['api']['key_file']}"
        if listen := fields["api"]["listen"]:
            lines["listens"] = f"{'  '.join(listen)}   named keys only, not encrypted"
    adapters = fields["adapters"]
    lines["base"] = (
        f"{fields['base']}, {counted(adapters['registered'], 'adapter')} here, {adapters['resident']} in memory"
    )
    lines |= _engine_lines(fields)
    chain = f", chain {fields['chain']}" if fields["chain"] else ""
    lines["network"] = f"{fields['network']}{chain}, {counted(fields['peers'], 'peer')}"
    if reach := fields["reach"]:
        lines["reached"] = _reached(reach)
    if fields["peer_id"]:
        lines["peer id"] = fields["peer_id"]
    if fields["address"]:
        lines["wallet"] = fields["address"]
    if why := fields.get("money", {}).get("why_not_claimed"):
        lines["rewards"] = f"not claimed: {why}"
    if audited := _audited(fields.get("money", {}).get("audits", {})):
        lines["audits"] = audited
    for number, alert in enumerate(fields.get("money", {}).get("alerts", ()), 1):
        lines["alert" if number == 1 else f"alert {number}"] = alert
    return lines | _usage_lines(fields) | _waiting_lines(fields)


def _reached(reach: dict[str, Any]) -> str:
    """Name the state of reachability, where others reach this node, and what to do about it."""
    number = len(reach["relays"])
    where = f"at {endpoint_of(reach['addresses'][0])}" if reach["addresses"] else ""
    over = f"over {counted(number, 'relay')}" if number and not where else ""
    state = "not known yet" if reach["state"] == "unknown" else ", ".join(filter(None, (reach["state"], where, over)))
    return f"{state}. {reach['remedy']}" if reach["remedy"] else state


def _audited(counts: dict[str, int]) -> str:
    """Summarise the bought receipts whose shares were to be recomputed; empty if there were none."""
    labels = {"right": "right", "wrong": "WRONG", "unknown": "can't be recomputed here"}
    parts = [f"{counts[name]:,} {label}" for name, label in labels.items() if counts.get(name)]
    return f"shares of bought receipts: {', '.join(parts)}" if parts else ""


def _usage_lines(fields: dict[str, Any]) -> dict[str, str]:
    """Summarise the requests of the last day and week; no line for a span without requests."""
    spans = ((label, fields.get("usage", {}).get(name)) for label, name in (("24 h", "day"), ("7 days", "week")))
    return {label: _used(usage) for label, usage in spans if usage and usage["jobs"]}


def _used(usage: dict[str, Any]) -> str:
    parts = [counted(usage["jobs"], "job")]
    if usage["answered_percent"] is not None:
        parts.append(f"{usage['answered_percent']:.1f} % answered")
    parts += [f"{usage[name]:,} {name}" for name in ("failed", "interrupted") if usage[name]]
    parts.append(counted(usage["tokens_out"], "token"))
    if usage["adapter_percent"]:
        parts.append(f"{usage['adapter_percent']:.1f} % of them with an adapter")
    return ", ".join(parts)


def _waiting_lines(fields: dict[str, Any]) -> dict[str, str]:
    """List what waits for the owner."""
    waiting, lines = fields.get("waiting", {}), {}
    if number := waiting.get("money"):
        lines["waits"] = f"{counted(number, 'thing')} of your money: see `wallet history` and `stake show`"
    if number := waiting.get("governance"):
        lines["votes"] = f"{counted(number, 'proposal')} you can vote on: see `gov list`"
    if number := waiting.get("datanets"):
        lines["reviews"] = f"{counted(number, 'review')} of your Datanets: see `datanet list`"
    return lines


def _engine_lines(fields: dict[str, Any]) -> dict[str, str]:
    engine = fields.get("engine")
    if not engine or not engine["backend"]:
        return {}
    ttft = engine["ttft_ms"]["p50"]
    num_tokens = engine["kv_cache"]["tokens"]
    parts = [
        f"{engine['backend']} on {engine['device']}, {engine['dtype']}",
        f"{engine['tokens_per_s']:.0f} tokens/s" if engine["tokens_per_s"] else "",
        f"first token {ttft:,.0f} ms" if ttft else "",
        size(engine["base_bytes"]) if engine["base_bytes"] else "",
        f"up to {engine['context_max']:,} tokens of context a request" if engine["context_max"] else "",
        f"room for {num_tokens:,} of all requests" if num_tokens else "",
        f"restarted {counted(engine['restarts'], 'time')}" if engine["restarts"] else "",
    ]
    requests = fields["requests"]
    return {
        "engine": _without_memory(engine) or ", ".join(filter(None, parts)),
        "requests": f"{requests['running']} running, {requests['waiting']} waiting",
    }


def _without_memory(engine: dict[str, Any]) -> str:
    """Describe an engine that holds no memory; empty for any other."""
    if engine["state"] == "unloaded":
        return f"unloaded, and its memory is free; the next request loads it in about {engine['load_s']:.0f} s"
    return {"paused": "paused; its memory is free", "failed": "not loaded"}.get(engine["state"], "")


def _why_lines(fields: dict[str, Any]) -> dict[str, str]:
    """List the checks behind an idle state, and the newest lost bids."""
    lines = {}
    if fields["state"] in ("idle", "paused"):
        for check in fields["checks"]:
            if check["ok"] is not None:
                lines[f"  {check['check']}"] = f"{MARKS[check['ok']]}  {check['says']}"
    for place, bid in enumerate(fields["bids_lost"]):
        won = f", {open_amount(bid['winner_price_wei'])} won" if bid["winner_price_wei"] else ""
        when = datetime.fromisoformat(bid["when"]).strftime("%H:%M:%S")
        text = f"{when} {bid['adapter']}: bid {open_amount(bid['my_price_wei'])}{won}; {bid['reason']}"
        lines["lost" if not place else " " * place] = text
    return lines
