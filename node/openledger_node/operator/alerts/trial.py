"""A test alert to each receiver, by the command and by the page."""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import trio

from ...errors import ConfigError, NetworkError
from ...home import Home
from ...upkeep_tables import AlertsConfig
from .delivery import deliver, receivers_of
from .journal import Alert

NO_RECEIVER: Final = (
    "no receiver is set: run `openledger-node config set alerts.ntfy_url https://ntfy.sh/TOPIC`, or set "
    "alerts.webhook_url, and start the node again"
)


async def send_trials(
    home: Home,
    config: AlertsConfig,
    *,
    now_s: Callable[[], float] = time.time,
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[dict[str, Any]]:
    """Send the test alert to each receiver, and return what came back from each, with `error` None if it took it.

    Raises:
        ConfigError: there is no receiver, or a secret can't be read.
    """
    receivers = await trio.to_thread.run_sync(receivers_of, home, config)
    if not receivers:
        raise ConfigError(NO_RECEIVER)
    found: list[dict[str, Any]] = []
    for receiver in receivers:
        error = None
        try:
            alert = trial_alert(now_s=int(now_s()))
            await deliver(receiver, alert, node_name=config.node_name, now_s=now_s, transport=transport)
        except NetworkError as failure:
            error = str(failure)
        found.append({"name": receiver.name, "host": receiver.host, "error": error})
    return found


def trial_alert(*, now_s: int) -> Alert:
    """The alert of `alerts test`."""
    text = "This is a test. Alerts of this node reach you here."
    return Alert(id=f"msg_{secrets.token_hex(12)}", event="test", cause="test", phase="test", at_s=now_s, text=text)
