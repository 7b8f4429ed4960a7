"""Delivery of one alert: a webhook signed as Standard Webhooks has it, or a message to an ntfy topic.

Nothing but the configured URLs is ever connected to: a redirect is a failure.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx
import trio

from ... import __version__
from ...errors import ConfigError, NetworkError, explain_disk
from ...home import Home, write_private
from ...text import rfc3339
from ...upkeep_tables import LOOPBACK_HOSTS, AlertsConfig
from .causes import is_urgent
from .journal import Alert

TIMEOUT_S: Final = 20.0
SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"
TOKEN_LENGTH_MAX: Final = 500
USUAL_NAME: Final = "openledger-node"

ReceiverName = Literal["webhook", "ntfy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A place that alerts are sent to. Its secret shows in no log."""

    name: ReceiverName
    url: str
    secret: str | None  # of the webhook's signature, or the token of ntfy

    def __repr__(self) -> str:
        return f"Receiver({self.name}, {self.host})"

    @property
    def host(self) -> str:
        """Host of the URL; the rest of it may be a secret."""
        return urlsplit(self.url).netloc


def receivers_of(home: Home, config: AlertsConfig) -> list[Receiver]:
    """The receivers of the settings. The webhook's secret is drawn if there is none.

    Raises:
        ConfigError: others can read a secret, or it is damaged.
        DiskError: the secret can't be written.
    """
    found = []
    if config.webhook_url:
        found.append(Receiver(name="webhook", url=config.webhook_url, secret=load_secret(home)))
    if config.ntfy_url:
        found.append(Receiver(name="ntfy", url=config.ntfy_url, secret=load_token(home)))
    return found


async def deliver(
    receiver: Receiver,
    alert: Alert,
    *,
    node_name: str,
    now_s: Callable[[], float],
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Send an alert once.

    Raises:
        NetworkError: the receiver does not take it; the message says why.
    """
    headers, body = _message(receiver, alert, node_name=node_name or USUAL_NAME, now_s=int(now_s()))
    is_local = urlsplit(receiver.url).hostname in LOOPBACK_HOSTS
    try:
        with trio.fail_after(TIMEOUT_S):
            async with (
                httpx.AsyncClient(
                    transport=transport,
                    timeout=TIMEOUT_S,
                    follow_redirects=False,
                    trust_env=not is_local,  # a proxy can't reach our loopback
                ) as client,
                client.stream(
                    "POST", receiver.url, content=body, headers=headers
                ) as response,  # its body is not read
            ):
                status = response.status_code
    except trio.TooSlowError as error:
        raise NetworkError(f"{receiver.host} did not answer within {TIMEOUT_S:.0f} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NetworkError(f"{receiver.host} can't be reached ({type(error).__name__})") from error
    except (ValueError, ImportError) as error:  # of the client itself
        raise NetworkError(
            f"{receiver.host} can't be reached by the proxy of this environment ({type(error).__name__}): set "
            "HTTPS_PROXY and ALL_PROXY to a URL that begins with http://, or unset them"
        ) from error
    if not 200 <= status < 300:
        raise NetworkError(f"{receiver.host} answered with status {status}: {_advice(receiver, status)}")


def sign(secret: str, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The signature of a message, `v1,BASE64`: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.

    Source: Standard Webhooks, version 1.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _message(receiver: Receiver, alert: Alert, *, node_name: str, now_s: int) -> tuple[dict[str, str], bytes]:
    """Headers and body for the receiver."""
    if receiver.name == "ntfy":
        headers = {
            "Title": _title(alert, node_name),
            "Priority": "high" if _is_urgent(alert) else "default",
            "Tags": "white_check_mark" if alert.phase in ("over", "test") else "warning",
        }
        if receiver.secret:
            headers["Authorization"] = f"Bearer {receiver.secret}"
        return headers, alert.text.encode()
    body = json.dumps(
        {
            "type": f"openledger.alert.{alert.event}",
            "timestamp": rfc3339(alert.at_s),
            "data": {
                "id": alert.id,
                "event": alert.event,
                "phase": alert.phase,
                "text": alert.text,
                "urgent": _is_urgent(alert),
                "node": node_name,
                "version": __version__,
            },
        }
    ).encode()
    assert receiver.secret is not None, "a webhook has a secret"
    return {
        "Content-Type": "application/json",
        "webhook-id": alert.id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign(receiver.secret, message_id=alert.id, timestamp_s=now_s, body=body),
    }, body


def _title(alert: Alert, node_name: str) -> str:
    return f"{node_name}: {alert.event}{' is over' if alert.phase == 'over' else ''}"


def _is_urgent(alert: Alert) -> bool:
    return alert.phase == "begins" and is_urgent(alert.event)


def _advice(receiver: Receiver, status: int) -> str:
    if 300 <= status < 400:
        return f"it redirects, which is not followed, so set [alerts] {receiver.name}_url to the final URL"
    if status in (401, 403):
        fix = "`openledger-node alerts token FILE`" if receiver.name == "ntfy" else "`openledger-node alerts secret`"
        return f"it refuses this node, see {fix}"
    return f"check [alerts] {receiver.name}_url and the receiver's log"


# ---- Secrets. They are files of the owner's, like the API key, and never settings.


def load_secret(home: Home) -> str:
    """Read the secret that webhooks are signed with; the first call draws it.

    Raises:
        ConfigError: others can read the file, or it is damaged.
    """
    file = home.keys / "alerts-webhook.secret"
    if not file.exists():
        draw_secret(home)
    text = _read_private(file)
    try:
        is_whole = len(base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)) == SECRET_BYTES
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ConfigError(f"{file} is damaged: run `openledger-node alerts secret --new`, and tell the receiver")
    return text


def draw_secret(home: Home) -> None:
    """Draw a new secret for webhooks; receivers refuse what is signed with the former one.

    Raises:
        DiskError: the disk is full or read-only.
    """
    secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    write_private(home.keys / "alerts-webhook.secret", f"{SECRET_PREFIX}{secret}\n", is_new=False)


def load_token(home: Home) -> str | None:
    """Read the access token of the ntfy topic; None if none is kept.

    Raises:
        ConfigError: others can read the file.
    """
    file = home.keys / "alerts-ntfy.token"
    return _read_private(file) if file.exists() else None


def keep_token(home: Home, token: str | None) -> None:
    """Keep the access token of the ntfy topic, or remove it.

    Raises:
        ConfigError: no header takes this token.
        DiskError: the disk is full or read-only.
    """
    file = home.keys / "alerts-ntfy.token"
    if token is None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise explain_disk(error, home.keys) from error
        return
    if not token or " " in token or not (token.isascii() and token.isprintable()) or len(token) > TOKEN_LENGTH_MAX:
        raise ConfigError("that is no token: the file must hold one line, such as tk_…, as ntfy shows it")
    write_private(file, f"{token}\n", is_new=False)


def _read_private(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{file} can be read by others: run `chmod 600 {file}`")
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file} ({type(error).__name__}): check its owner and its contents") from error
