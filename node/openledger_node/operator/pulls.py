"""Pulls of bases or adapters in the daemon: one at a time of each kind, which can be cancelled at any moment."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final, Literal

import trio

from ..contained import log_failure, why_failed
from ..errors import ConfigError, NodeError
from ..home import Home
from ..models.adapter_hub import discard_partial, is_hub_name
from ..models.bases import Base
from ..node_events import EventKind, note_event

CHILD: Final = "openledger_node.operator.pull_child"
FRESH_S: Final = 1.0
"""Time after which the rate of a download is known."""

DOWNLOADING: Final = "downloading"

Noun = Literal["base", "adapter"]
"""The kind of things that are pulled, and the key of the result."""

NAMES: Final[Mapping[Noun, str]] = {
    "base": "OWNER/NAME, or the path of a folder or file",
    "adapter": "a name that peers offer, an adapter's id, or OWNER/NAME of the Hugging Face hub",
}

Line = Mapping[str, Any]
"""A report: `what`, `done` and `total` in bytes; or at the end an `error`, or the result by its noun."""

Hear = Callable[[Line], None]

FromPeers = Callable[[str, Callable[[int, int], None]], Awaitable[dict[str, Any]]]
"""Fetches an adapter from peers by its name; the second argument gets the bytes that are here, and of all."""


@dataclass(slots=True, kw_only=True)
class Pull:
    """The pull that is under way, or the last one."""

    name: str
    anyway: bool = False  # even if it does not fit into the memory
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    what: str = "starting"
    done: int = 0
    total: int = 0
    began_s: float = 0.0
    began_done: int = 0
    result: Line = field(default_factory=dict)

    def bytes_per_s(self, now_s: float) -> int | None:
        """The rate of this stage so far; None if nothing can be said yet."""
        took_s, fresh = now_s - self.began_s, self.done - self.began_done
        is_known = self.state == "running" and self.total and took_s >= FRESH_S and fresh > 0
        return round(fresh / took_s) if is_known else None


Fetch = Callable[[Pull, Hear], Awaitable[None]]
"""Carries out a pull and hands over each line that it reports; a cancellation ends it."""


class Pulls:
    """Runs a daemon's pulls of one kind."""

    def __init__(self, noun: Noun, fetch: Fetch) -> None:
        self._noun: Noun = noun
        self._fetch = fetch
        self._pull: Pull | None = None
        self._ordered = trio.Event()
        self._scope = trio.CancelScope()

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
            raise ConfigError(f"{name!r} is not a name: give {NAMES[self._noun]}")
        if self._pull and self.is_running:
            raise ConfigError(f"{self._pull.name} is being pulled: wait until that has ended, or cancel it")
        self._pull = Pull(name=name.strip(), anyway=anyway)
        self._ordered.set()

    def cancel(self) -> None:
        """End the pull that is under way; nothing if there is none."""
        if self._pull and self.is_running:
            self._pull.state = "cancelled"
            self._scope.cancel()

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        while True:
            await self._ordered.wait()
            self._ordered = trio.Event()
            if self._pull and self.is_running:
                await self._run_one(self._pull)

    def to_plain(self) -> dict[str, Any] | None:
        """The pull that is under way, or the last one with its result, for JSON; None if there was none."""
        if (pull := self._pull) is None:
            return None
        rate = pull.bytes_per_s(monotonic())
        return {
            "name": pull.name,
            "state": pull.state,
            "what": pull.what,
            "done_bytes": pull.done,
            "total_bytes": pull.total or None,
            "bytes_per_s": rate,
            "left_s": round((pull.total - pull.done) / rate) if rate else None,
            "why": pull.result.get("error"),
            **pull.result,
        }

    async def _run_one(self, pull: Pull) -> None:
        hear = partial(self._hear, pull)
        with trio.CancelScope() as self._scope:
            try:
                await self._fetch(pull, hear)
            except Exception as error:  # the operator reads the reason, and the daemon goes on
                log_failure(error)
                why = why_failed(error)
                hear({"error": str(why), "exit_code": getattr(why, "exit_code", NodeError.exit_code)})
        hear({"error": f"the download ended without a word: pull the {self._noun} again to resume it"})

    def _hear(self, pull: Pull, line: Line) -> None:
        """Take one line of the report, in any thread; the end of a pull is heard once."""
        if pull.state != "running":
            return
        if "error" in line or self._noun in line:
            pull.result, pull.state = line, "failed" if "error" in line else "done"
            if pull.state == "done" and self._noun == "adapter":
                note_event(EventKind.ADAPTER_PULLED, pull.name)
            return
        if line["what"] != pull.what:
            pull.what, pull.began_s, pull.began_done = line["what"], monotonic(), line["done"]
        pull.done, pull.total = line["done"], line["total"] if line["total"] > 1 else 0


def base_pulls(home: Home) -> Pulls:
    """The pulls of bases into a data directory."""

    async def fetch(pull: Pull, hear: Hear) -> None:
        await fetch_in_child(hear, "base", str(home.root), pull.name, "anyway" if pull.anyway else "")

    return Pulls("base", fetch)


def adapter_pulls(home: Home, base: Base, from_peers: FromPeers) -> Pulls:
    """The pulls of adapters for the base that is served: from peers over the network, or from the hub."""

    async def fetch(pull: Pull, hear: Hear) -> None:
        if is_hub_name(pull.name):
            try:
                await fetch_in_child(hear, "adapter", str(home.root), pull.name, base.name)
            finally:
                if pull.state == "cancelled":  # by the operator; a node that stops keeps the parts
                    discard_partial(home, pull.name)
            return
        hear({"what": "asking peers", "done": 0, "total": 1})
        found = await from_peers(
            pull.name, lambda done, total: hear({"what": DOWNLOADING, "done": done, "total": total})
        )
        hear({"made_for": None, **found, "received_bytes": found["bytes"]})

    return Pulls("adapter", fetch)


async def fetch_in_child(hear: Hear, *words: str) -> None:
    """Pull in a child process, which ends with this task or with this process."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", CHILD, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that the terminal's Ctrl-C reaches the daemon only
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            rest = b""
            async for piece in process.stdout:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    hear(json.loads(line))
            await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
