"""Client of the node's own HTTP API, as any other program would use it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..api_key import load_api_key
from ..errors import NodeError
from ..home import Home
from .daemon_client import answer_of, ask_daemon, load_settings, open_socket, raise_refusal
from .render import out_console, plain, say, shown
from .units import open_amount

CONNECT_TIMEOUT_S = 5.0
CHUNK_TIMEOUT_S = 600.0  # a large model on a small GPU may take minutes to its first token


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAddress:
    """URL and key of the API, and the name of the base."""

    url: str
    key: str
    base: str


def find_api(home: Home) -> ApiAddress:
    """Find the running node's API.

    Raises:
        NodeError: no node is running, or it is still loading.
    """
    status = ask_daemon(home, "GET", "/status")
    if status is None:
        raise NodeError("no node is running here: start one with `openledger-node start` in another terminal")
    is_first_load = status["state"] == "starting" and status["engine"]["state"] == "starting"
    if status["state"] == "draining" or is_first_load:
        doing = (status["engine"]["loading"] or {}).get("says") or status["state"]
        raise NodeError(f"the node is still {doing}: try again in a moment")
    return ApiAddress(url=status["api"]["url"], key=load_api_key(home), base=status["base"])


def stream_chat(address: ApiAddress, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a chat request and yield the events of its stream.

    Raises:
        NodeError: the node refused the request, or the connection broke.
    """
    timeout = httpx.Timeout(CHUNK_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {address.key}"}
    content = {**body, "stream": True, "stream_options": {"include_usage": True}}
    try:
        with (
            httpx.Client(base_url=address.url, headers=headers, timeout=timeout) as client,
            client.stream("POST", "/v1/chat/completions", json=content) as response,
        ):
            if response.is_error:
                response.read()
                raise NodeError(response.json()["error"]["message"])
            yield from _events(response.iter_lines())
    except httpx.HTTPError as error:
        raise NodeError(f"the connection to {address.url} broke: {error}") from error


def stream_guest(home: Home, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Have the daemon's guest buy an answer; yield pieces of text, then the payment.

    Raises:
        NodeError: the request was refused, or the daemon stopped.
    """
    try:
        with (
            open_socket(home, CHUNK_TIMEOUT_S) as client,
            client.stream("POST", "/guest", json=body) as response,
        ):
            if response.is_error:
                response.read()
                answer_of(response)
            for line in response.iter_lines():
                raise_refusal(found := json.loads(line))
                yield found
    except httpx.HTTPError as error:
        raise NodeError(f"the connection to the daemon broke: {error}") from error


def text_of(event: dict[str, Any]) -> str:
    """Return the text that one event adds to the answer."""
    return event["choices"][0]["delta"].get("content", "") if event["choices"] else ""


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    has_said = False
    for line in lines:
        if line.startswith(":"):  # a comment: the engine is loading
            if not has_said:
                say(f"[dim]{plain(line.removeprefix(':').strip())}[/]")
                has_said = True
            continue
        content = line.removeprefix("data: ")
        if not content or content == "[DONE]":
            continue
        event = json.loads(content)
        if "error" in event:
            raise NodeError(event["error"]["message"])
        yield event


# ---- The answers of adapter and base side by side, in two columns

REDRAWS_PER_S = 8
Pieces = Callable[[], Iterator[str]]


@dataclass(kw_only=True)
class ColumnAnswer:
    """One column while its answer arrives; its own thread writes, any thread may read."""

    title: str
    pieces: Pieces
    text: str = ""
    num_pieces: int = 0
    began_s: float = 0.0
    first_s: float | None = None
    ended_s: float | None = None
    error: Exception | None = None
    thread: threading.Thread = field(init=False)

    def begin(self) -> None:
        """Start the thread that asks."""
        self.began_s = time.monotonic()
        self.thread = threading.Thread(
            target=self._read, daemon=True
        )  # a daemon thread, so that Ctrl-C does not wait for it
        self.thread.start()

    def _read(self) -> None:
        try:
            for piece in self.pieces():
                if piece:
                    self.first_s = self.first_s or time.monotonic()
                    self.text += piece
                    self.num_pieces += 1
        except NodeError as error:
            self.error = error
        self.ended_s = time.monotonic()

    @property
    def figures(self) -> str:
        """Describe the speed so far. A piece counts as one token, which is nearly true."""
        if self.first_s is None:
            return "waiting for the first token"
        took_s = (self.ended_s or time.monotonic()) - self.first_s
        speed = f" · {(self.num_pieces - 1) / took_s:.0f} tokens/s" if took_s > 0 and self.num_pieces > 1 else ""
        return f"{self.num_pieces} tokens · {self.first_s - self.began_s:.2f} s to first{speed}"


def ask_both(base: ColumnAnswer, adapter: ColumnAnswer, *, is_quiet: bool) -> None:
    """Ask both at the same time; show them side by side on a terminal, else one below the other.

    Raises:
        NodeError: one of the answers was refused, or broke off.
    """
    both = (base, adapter)
    for answer in both:
        answer.begin()
    if not is_quiet and out_console.is_terminal:
        with Live(console=out_console, refresh_per_second=REDRAWS_PER_S, get_renderable=lambda: _table(both)):
            _wait(both)
    else:
        _wait(both)
        if not is_quiet:
            for answer in both:
                out_console.print(f"{answer.title} ({answer.figures})", markup=False)
                out_console.print(shown(answer.text), markup=False)
    if failed := next((answer.error for answer in both if answer.error), None):
        raise failed


def _wait(both: tuple[ColumnAnswer, ...]) -> None:
    for answer in both:
        answer.thread.join()


def _table(both: tuple[ColumnAnswer, ...]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0))
    for answer in both:
        table.add_column(Text(answer.title), ratio=1, overflow="fold", header_style="bold")
    table.add_row(*(Text(answer.figures, style="dim") for answer in both))
    table.add_row(*(Text(shown(answer.text)) for answer in both))
    return table


@dataclass(slots=True)
class CostNotice:
    """Says once for each model that its answers cost, and after each answer what it cost.

    It writes to stderr, so that an answer in a pipe stays clean, and never waits for a confirmation.
    """

    home: Home
    is_quiet: bool = False
    _said: set[str] = field(default_factory=set)

    def before(self, model: str) -> None:
        """Say the most that an answer of this model can cost, if another node gives it."""
        if self.is_quiet or model in self._said:
            return
        self._said.add(model)
        status, limits = ask_daemon(self.home, "GET", "/status"), ask_daemon(self.home, "GET", "/limits")
        if not status or not limits or status["chain"] is None:
            return
        if limits["serve"] and model in self._names_here(status["base"]):
            return
        deposit_wei = load_settings(self.home).payer.deposit_wei
        say(
            f"[yellow]{plain(model)} is not on this machine[/], so another node answers and you pay it: at most "
            f"{open_amount(limits['request_max_wei'])} for each question. A first purchase from a node deposits "
            f"{open_amount(deposit_wei)}; what you don't use comes back with `openledger-node channels close`"
        )

    def after(self, usage: dict[str, Any] | None) -> None:
        """Say what an answer cost, if it cost something."""
        cost_wei = (usage or {}).get("cost_wei")
        if usage and not self.is_quiet and cost_wei not in (None, "0"):
            tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
            say(f"[dim]you paid {open_amount(cost_wei)} for {tokens} · `openledger-node jobs`[/]")

    def _names_here(self, base: str) -> set[str]:
        """The names by which a request can ask for this machine's base and adapters."""
        found = ask_daemon(self.home, "GET", "/adapters") or {"adapters": []}
        names = {name for each in found["adapters"] for name in (each["name"], each["full_name"], each["id"])}
        return {base, *names, *(f"{base}:{name}" for name in names)}
