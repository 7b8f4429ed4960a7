"""The table of node.toml for a node that runs for weeks without anybody looking: its alerts."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from .errors import ConfigError
from .setting import setting

ALERT_EVENTS: Final = ("restarted", "engine", "chain", "peers", "disk", "gas", "claims", "sellers")
"""Events that an alert can be about, as `[alerts] muted` names them."""

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
NODE_NAME_LENGTH_MAX: Final = 40
URL_LENGTH_MAX: Final = 2_000


def read_upkeep_url(text: str) -> str:
    """Check a URL that this node may connect to; the empty text is none.

    Raises:
        ConfigError: it is no URL, holds a password, or is not encrypted although it leads to another machine.
    """
    if not text:
        return text
    try:
        parts = urlsplit(text)
        is_url = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that don't close, or a port that is no number
        is_url = False
    if not is_url or not (text.isascii() and text.isprintable()) or " " in text or len(text) > URL_LENGTH_MAX:
        raise ConfigError(f"{text!r} is not a URL: write it like https://example.org/path")
    if parts.scheme not in ("https", "http"):
        raise ConfigError(f"{text!r} must begin with https://")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ConfigError(
            f"{text!r} is not encrypted: use https://, since only a program on this machine may have http"
        )
    if "@" in parts.netloc:
        raise ConfigError(
            f"the URL at {parts.hostname} holds a user or password: leave it out, settings keep no secrets"
        )
    if parts.fragment:
        raise ConfigError(f"{text!r} has a part behind #, which no server gets: leave it out")
    return text


def read_muted(text: str) -> frozenset[str]:
    """The events without alerts, from their names separated by commas.

    Raises:
        ConfigError: a name is none of an event.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ALERT_EVENTS:
            raise ConfigError(f"{name!r} is no event: the events are {', '.join(ALERT_EVENTS)}")
    return frozenset(names)


def _read_node_name(text: str) -> str:
    if len(text) > NODE_NAME_LENGTH_MAX or not (text.isascii() and text.isprintable()):
        raise ConfigError(
            f"{text!r} is no name for alerts: use at most {NODE_NAME_LENGTH_MAX} letters, digits and signs"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """Alerts to a webhook and to ntfy about what needs the owner."""

    webhook_url: str = setting("", "URL that gets each alert as signed JSON; empty: none.", read=read_upkeep_url)
    ntfy_url: str = setting(
        "",
        "URL of an ntfy topic, such as https://ntfy.sh/TOPIC; empty: none. Whoever knows a topic without a token can "
        "read it, so choose a name that nobody guesses.",
        read=read_upkeep_url,
    )
    node_name: str = setting("", "Name of this node in its alerts; empty: openledger-node.", read=_read_node_name)
    muted: str = setting(
        "",
        f"Events without alerts, separated by commas: {', '.join(ALERT_EVENTS)}.",
        read=read_muted,
    )
    chain_lost_s: float = setting(600.0, "Seconds without the chain before an alert.", low=10.0, high=604_800.0)
    peers_lost_s: float = setting(
        900.0,
        "Seconds without a peer, or in which nobody can reach this node, before an alert.",
        low=10.0,
        high=604_800.0,
    )
