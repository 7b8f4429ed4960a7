"""Pulls of bases or adapters in the daemon: one at a time of each kind, which can be cancelled at any moment.

The order is kept in a file until it has ended, so that a daemon that was killed resumes it at its next start.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import trio

from ..contained import log_failure, why_failed
from ..errors import ConfigError, NodeError
from ..home import write_private
from ..node_events import EventKind, note_event

LINE_BYTES_MAX = 1 << 16
FRESH_S = 1.0
"""Time after which the rate of a download is known."""

DOWNLOADING: Final = "downloading"

Line = Mapping[str, Any]
"""A report: `what`, `done` and `total` in bytes; or at the end an `error`, or the result by the kind's name."""

Hear = Callable[[Line], None]
State = Literal["running", "done", "failed", "cancelled"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The name of the base or adapter to pull."""

    name: str
    anyway: bool = False  # even if it does not fit into the memory
    is_resumed: bool = False  # left by an earlier daemon


Fetch = Callable[[Order, Hear], Awaitable[None]]
"""Carries out an order and hands over each line that it reports; a cancellation ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The kind of things that are pulled."""

    noun: str  # also the key of the result
    names: str  # the names that a pull takes, for an error
    facts: tuple[str, ...] = ()  # more keys of the result
    discard: Callable[["Order"], None] = lambda order: None  # deletes what a cancelled pull has left; blocks


@dataclass(slots=True, kw_only=True)
class _Pull:
    """The pull that is under way, or the last one."""

    order: Order
    state: State = "running"
    what: str = "starting"
    done: int = 0
    total: int = 0
    began_s: float = 0.0
    began_done: int = 0
    result: Line = field(default_factory=dict)


class Pulls:
    """Runs a daemon's pulls of one kind; `file` keeps the order."""

    def __init__(self, kind: Kind, file: Path, fetch: Fetch, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._file = file
        self._fetch = fetch
        self._now_s = now_s
        self._pull: _Pull | None = None
        self._ordered = trio.Event()
        self._scope: trio.CancelScope | None = None

    @property
    def is_running(self) -> bool:
        """Return True while something is pulled."""
        return self._pull is not None and self._pull.state == "running"

    def order(self, name: str, *, anyway: bool = False) -> None:
        """Begin a pull.

        Raises:
            ConfigError: another one is under way, or this is no name.
        """
        if not name.strip() or not name.isprintable():
            raise ConfigError(f"{name!r} is not a name: give {self._kind.names}")
        if self._pull and self.is_running:
            raise ConfigError(f"{self._pull.order.name} is being pulled: wait until that has ended, or cancel it")
        order = Order(name=name.strip(), anyway=anyway)
        self._keep(order)
        self._begin(order)

    def cancel(self) -> None:
        """End the pull that is under way; nothing if there is none."""
        if self._pull and self.is_running:
            self._pull.state = "cancelled"
            self._forget()
            if self._scope:
                self._scope.cancel()

    async def run(self) -> None:
        """Carry out orders until cancelled, and first the one that an earlier daemon has left."""
        if self._pull is None and (left := self._read_left()):
            self._begin(left)
        while True:
            await self._ordered.wait()
            self._ordered = trio.Event()
            if self._pull and self.is_running:
                await self._run_one(self._pull)

    def to_plain(self) -> dict[str, Any] | None:
        """The pull that is under way, or the last one, for JSON; None if there was none."""
        pull = self._pull
        if pull is None:
            return None
        rate = self._bytes_per_s(pull)
        return {
            "name": pull.order.name,
            "state": pull.state,
            "what": pull.what,
            "done_bytes": pull.done,
            "total_bytes": pull.total or None,
            "bytes_per_s": rate,
            "left_s": round((pull.total - pull.done) / rate) if rate else None,
            "why": pull.result.get("error"),
            "exit_code": pull.result.get("exit_code"),  # of a command that waits for it
            **{key: pull.result.get(key) for key in (self._kind.noun, *self._kind.facts)},
        }

    def _begin(self, order: Order) -> None:
        self._pull = _Pull(order=order)
        self._ordered.set()

    async def _run_one(self, pull: _Pull) -> None:
        with trio.CancelScope() as self._scope:
            try:
                await self._fetch(pull.order, lambda line: self._hear(pull, line))
            except Exception as error:  # the operator reads the reason, and the daemon goes on
                log_failure(error)
                why = why_failed(error)
                self._hear(pull, {"error": str(why), "exit_code": getattr(why, "exit_code", NodeError.exit_code)})
        self._scope = None
        if pull.state == "cancelled":
            await trio.to_thread.run_sync(self._kind.discard, pull.order)
        if pull.state == "running":
            self._hear(
                pull, {"error": f"the download ended without a word: pull the {self._kind.noun} again to resume it"}
            )

    def _hear(self, pull: _Pull, line: Line) -> None:
        """Take one line of the report."""
        if pull.state != "running":
            return
        if "error" in line or self._kind.noun in line:
            pull.result = dict(line)
            pull.state = "failed" if "error" in line else "done"
            if pull.state == "done" and self._kind.noun == "adapter":
                note_event(EventKind.ADAPTER_PULLED, pull.order.name)
            self._forget()
            return
        if line["what"] != pull.what:
            pull.what, pull.began_s, pull.began_done = line["what"], self._now_s(), line["done"]
        pull.done, pull.total = line["done"], line["total"] if line["total"] > 1 else 0

    def _bytes_per_s(self, pull: _Pull) -> int | None:
        """The rate of this stage so far; None if nothing can be said yet."""
        took_s, fresh = self._now_s() - pull.began_s, pull.done - pull.began_done
        is_known = pull.state == "running" and pull.total and took_s >= FRESH_S and fresh > 0
        return round(fresh / took_s) if is_known else None

    # ---- the order's file

    def _keep(self, order: Order) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, json.dumps({"name": order.name, "anyway": order.anyway}) + "\n", is_new=False)

    def _forget(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            log.warning(
                "%s stays (%s): the next start will pull that %s again",
                self._file,
                error.strerror,
                self._kind.noun,
            )

    def _read_left(self) -> Order | None:
        try:
            found = json.loads(self._file.read_text())
            return Order(name=str(found["name"]), anyway=found["anyway"] is True, is_resumed=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("%s can't be read (%s), so no pull is resumed", self._file, error)
            return None


async def fetch_in_child(module: str, words: Sequence[str], hear: Hear) -> None:
    """Pull in a child process that runs a module, and that ends with this task or with this process."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that the terminal's Ctrl-C reaches the daemon only
    )
    try:
        assert process.stdout is not None
        await _read_lines(process.stdout, hear)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()


async def _read_lines(stream: trio.abc.ReceiveStream, hear: Hear) -> None:
    rest = b""
    async for piece in stream:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            try:
                hear(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise NodeError(NONSENSE) from error
        if len(rest) > LINE_BYTES_MAX:
            raise NodeError(NONSENSE)


NONSENSE: Final = "the process that downloads reports nonsense: pull again"
