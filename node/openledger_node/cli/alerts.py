"""`alerts`: alerts for the owner of an unattended node."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from ..errors import ConfigError, InputError, NetworkError
from ..home import Home
from ..text import rfc3339
from ..upkeep_tables import ALERT_EVENTS, AlertsConfig, read_muted
from .daemon_client import load_settings, open_node_home
from .render import emit_json, plain, say, show_lines, show_table

app = typer.Typer(help="Alerts for the owner of an unattended node.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

SHOWN_MAX: Final = 10
TOKEN_FILE_BYTES_MAX: Final = 4_096


@app.command()
def show(as_json: Json = False) -> None:
    """Show the receivers, the events with their state, and the last alerts that were sent."""
    home = open_node_home()
    found = alerts_to_plain(home, load_settings(home).alerts)
    if as_json:
        emit_json("alerts", found)
        return
    if not found["receivers"]:
        from ..operator.alerts.trial import NO_RECEIVER

        say(NO_RECEIVER)
        return
    show_lines({each["name"]: _receiver_line(each) for each in found["receivers"]})
    rows = [[each["event"], _event_state(each), plain(each["says"])] for each in found["events"]]
    show_table(["event", "state", "text"], rows, empty="")
    sent = [
        [each["at"], each["event"], each["phase"], each["sent"], each["receiver"]]
        for each in found["sent"][:SHOWN_MAX]
    ]
    show_table(["at (UTC)", "event", "phase", "sent (UTC)", "to"], sent, empty="no alert was sent yet")
    if found["num_dropped"]:
        say(f"[yellow]{found['num_dropped']} alerts were dropped, since too many waited[/]")


@app.command("test")
def send_test(as_json: Json = False) -> None:
    """Send a test alert to each receiver, by the settings as they are now. The node need not run."""
    import trio

    from ..operator.alerts.trial import send_trials

    home = open_node_home()
    results = trio.run(send_trials, home, load_settings(home).alerts)
    if as_json:
        emit_json("alerts_test", {"receivers": results})
    else:
        show_lines({each["name"]: plain(each["error"] or f"{each['host']} took it") for each in results})
    if any(each["error"] for each in results):
        raise typer.Exit(NetworkError.exit_code)
    if not as_json:
        say("a running node takes changed settings at its next start")


@app.command()
def secret(
    new: Annotated[bool, typer.Option("--new", help="Generate a new secret; receivers refuse the old one.")] = False,
    as_json: Json = False,
) -> None:
    """Print the secret that webhooks are signed with, for the receiver. The first call generates it."""
    from ..operator.alerts.delivery import draw_secret, load_secret

    home = open_node_home()
    if new:
        draw_secret(home)
    found = load_secret(home)
    if as_json:
        emit_json("alerts_secret", {"secret": found})
        return
    print(found)
    if new:
        say("give it to the receiver, and restart the node: until then it signs with the former secret")


@app.command()
def token(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="File with the token in one line; - reads stdin.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the token.")] = False,
) -> None:
    """Keep the access token of the ntfy topic, in a file that only you can read."""
    from ..operator.alerts.delivery import keep_token

    if (file is None) != remove:
        raise InputError("give a FILE with the token, or --remove")
    home = open_node_home()
    keep_token(home, None if file is None else _token_in(file))
    say("the token is removed" if remove else "the token is kept: try it with `openledger-node alerts test`")


def alerts_to_plain(home: Home, config: AlertsConfig) -> dict[str, Any]:
    """Receivers without their secrets, events, and the last alerts for JSON."""
    from ..operator.alerts.causes import TEXTS, event_of
    from ..operator.alerts.journal import open_journal

    journal, muted = open_journal(home), read_muted(config.muted)
    since_s: dict[str, int] = {}
    for cause, at_s in journal.open_causes.items():
        since_s[event_of(cause)] = min(at_s, since_s.get(event_of(cause), at_s))
    urls = {"webhook": config.webhook_url, "ntfy": config.ntfy_url}
    return {
        "receivers": [
            {"name": name, "host": urlsplit(url).netloc, "waiting": len(journal.waiting.get(name, ()))}
            for name, url in urls.items()
            if url
        ],
        "events": [
            {
                "event": event,
                "muted": event in muted,
                "since": rfc3339(since_s[event]) if event in since_s else None,
                "says": TEXTS[event][0],
            }
            for event in ALERT_EVENTS
        ],
        "sent": [
            {**asdict(each), "at": rfc3339(each.at_s), "sent": rfc3339(each.sent_s)}
            for each in reversed(journal.sent)
        ],
        "num_dropped": journal.num_dropped,
    }


def _token_in(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read(TOKEN_FILE_BYTES_MAX).strip()
        with file.open(encoding="utf-8") as stream:
            return stream.read(TOKEN_FILE_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: give a text file with the token in one line") from error


def _receiver_line(receiver: Mapping[str, Any]) -> str:
    waiting = f", {receiver['waiting']} waiting" if receiver["waiting"] else ""
    return plain(f"{receiver['host']}{waiting}")


def _event_state(event: Mapping[str, Any]) -> str:
    if event["muted"]:
        return "muted"
    return f"open since {event['since']}" if event["since"] else "fine"
