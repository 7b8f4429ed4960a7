"""The node's own look for a new release about once a day, and its update without a hand if its owner wants that.

Without `[update] check` or `auto` nothing is asked of any server. What was found is kept in a file, so that a node
that restarts often asks no more often.
"""

import contextlib
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from packaging.version import Version

from ... import __version__
from ...beats import sleep_to_beat
from ...errors import ConfigError, DiskError, NetworkError, NodeError, explain_disk
from ...home import Home, write_private
from ...node_events import EventKind, note_event
from ...text import rfc3339
from ...upkeep_tables import UpdateConfig
from .environment import why_not_here
from .offer import ReleaseOffer, find_offer, install_offer
from .releases import InstalledRelease, ReleaseChoice, order_restart, read_choice

SCHEMA: Final = "openledger.release_look/1"
BEAT_S: Final = 60.0
FIRST_LOOK_S: Final = (0.0, 600.0)
LOOK_EVERY_S: Final = (20 * 3_600.0, 28 * 3_600.0)
"""Bounds of the time between two looks. Drawn anew each time, so that nodes don't ask all at once."""

log = logging.getLogger(__name__)

Find = Callable[[Home, UpdateConfig], Awaitable[ReleaseOffer]]
Install = Callable[..., InstalledRelease]


@dataclass(slots=True, kw_only=True)
class KeptLook:
    """The outcome of the last look; times are since 1970."""

    looked_s: float = 0.0
    next_s: float = 0.0
    newest: str = ""  # the version, if it was newer than the program
    notes: str = ""
    tried: str = ""  # a version that this node does not install by itself any more
    why_not: str = ""
    may_retry: bool = False  # the next look lifts `tried`: the release itself has not failed


class ReleaseWatch:
    """Looks for releases, tells of each once, and installs it if it may. It outlives the services of one base."""

    def __init__(
        self,
        home: Home,
        config: UpdateConfig,
        *,
        now_s: Callable[[], float] = time.time,
        draw: Callable[[float, float], float] = random.uniform,
        find: Find = find_offer,
        install: Install = install_offer,
    ) -> None:
        self._home, self._config = home, config
        self._now_s, self._draw = now_s, draw
        self._find, self._install = find, install
        self._file = home.root / "release_look.json"
        self._kept = KeptLook()
        self._offer: ReleaseOffer | None = None
        self._saved: KeptLook | None = None
        self._why_unseen = ""  # why the last look has failed
        self._has_looked = self._is_installing = False
        self._is_installed = False  # the newest release is chosen, and runs after the next start
        self._is_idle: Callable[[], bool] = lambda: False
        self._stop: Callable[[], None] = lambda: None

    @property
    def looks(self) -> bool:
        """True if the owner wants the node to look for releases."""
        return self._config.check or self._config.auto

    @property
    def newest(self) -> str:
        """The version of a newer release; empty if none is known."""
        return self._kept.newest

    def to_plain(self) -> dict[str, Any] | None:
        """The state for JSON; None if the node does not look."""
        if not self.looks:
            return None
        return {
            "newest": self._kept.newest or None,
            "notes": self._kept.notes if self._kept.newest else "",
            "looked": rfc3339(self._kept.looked_s) if self._kept.looked_s else None,
            "auto": self._config.auto,
            "says": self._sentence(),
        }

    async def run(self) -> None:
        """Look and update until cancelled."""
        if not self.looks:
            return
        await self.begin()
        while True:
            await self.step()
            await sleep_to_beat(BEAT_S)

    def attend(self, is_idle: Callable[[], bool], stop: Callable[[], None]) -> None:
        """Take the services of another base for the node; former ones are never idle any more."""
        self._is_idle, self._stop = is_idle, stop

    async def begin(self) -> None:
        """Read what was found before this start, and judge it by the release that runs now."""
        self._kept = kept = await trio.to_thread.run_sync(read_look, self._file)
        if kept.newest and Version(kept.newest) <= Version(__version__):
            kept.newest = kept.notes = kept.tried = kept.why_not = ""
        self._note_choice(self._read_choice())
        if not kept.next_s:
            kept.next_s = self._now_s() + self._draw(*FIRST_LOOK_S)
        await self._save()

    async def step(self) -> None:
        """Do what is due now."""
        if self._is_due():
            await self._look()
        if self._config.auto and self._kept.newest and self._kept.tried != self._kept.newest:
            await self._update()
        await self._save()

    # ---- looking

    def _is_due(self) -> bool:
        """Return True if it is time; a time far ahead comes from a clock that was set back."""
        return not -2 * LOOK_EVERY_S[1] < self._now_s() - self._kept.next_s < 0

    async def _look(self) -> None:
        now_s, kept = self._now_s(), self._kept
        kept.next_s = now_s + self._draw(*LOOK_EVERY_S)
        self._has_looked = True
        try:
            offer = await self._find(self._home, self._config)
        except NodeError as error:
            if not self._why_unseen:
                log.warning("no release was found, and the node looks again within 28 hours: %s", error)
            self._why_unseen = str(error)
            return
        self._why_unseen, self._offer, kept.looked_s = "", offer, now_s
        is_news = offer.is_newer and offer.version != kept.newest
        kept.newest, kept.notes = (offer.version, offer.manifest.notes) if offer.is_newer else ("", "")
        if kept.tried != kept.newest or kept.may_retry:
            kept.tried, kept.why_not, kept.may_retry = "", "", False
        self._note_choice(offer.choice)
        if is_news:
            await self._save()
            note_event(EventKind.RELEASE_AVAILABLE, self._sentence())

    # ---- updating

    async def _update(self) -> None:
        """Install the release at an idle moment, and start it at another one."""
        if not self._is_idle():
            return
        self._note_choice(self._read_choice())  # its owner may have updated or rolled back meanwhile
        if self._kept.tried == self._kept.newest:
            return
        if self._is_installed:
            self._restart()
        elif why := why_not_here():
            self._give_up(why)
        elif self._offer is None:  # this start has not looked yet
            if not self._has_looked:
                await self._look()
        elif not self._offer.can_update:
            self._give_up(f"it can be reached only from {self._offer.manifest.minimum}, so install it by hand")
        elif self._offer.manifest.expires_s < self._now_s():  # its maker may have withdrawn it since the look
            self._give_up("its manifest has expired since the last look", may_retry=True)
        else:
            await self._install_now(self._offer)

    async def _install_now(self, offer: ReleaseOffer) -> None:
        """Install the release. A crash in the middle counts as a failure, and a stop by the owner does not."""
        self._give_up("the node ended while it installed it")
        await self._save()
        self._is_installing = True
        try:
            await trio.to_thread.run_sync(
                partial(self._install, self._home, offer, partial(log.info, "update: %s"), _agree),
                abandon_on_cancel=True,
            )
            self._give_up("")
            self._kept.tried, self._is_installed = "", True
        except (NodeError, OSError) as failure:  # neither may end a node that serves
            error = failure if isinstance(failure, NodeError) else explain_disk(failure)
            self._give_up(str(error), may_retry=isinstance(error, NetworkError | ConfigError | DiskError))
            log.warning("version %s was not installed: %s", offer.version, error)
        except trio.Cancelled:
            self._kept.tried = ""
            with contextlib.suppress(NodeError, OSError):
                self._write()
            raise
        finally:
            self._is_installing = False

    def _restart(self) -> None:
        """Have the node start again under the chosen release. This is ordered once for each release."""
        self._give_up("it was started from another installation")
        try:
            self._write()
            order_restart(self._home)
        except (NodeError, OSError) as error:  # without the file it would be ordered after each start
            self._give_up(f"it can't be started again ({error})", may_retry=True)
            return
        self._stop()

    def _read_choice(self) -> ReleaseChoice | None:
        """Read the choice; a file that was damaged while the node runs is the next start's to report."""
        try:
            return read_choice(self._home)
        except ConfigError as error:
            log.warning("the chosen release is not known: %s", error)
            return None

    def _note_choice(self, choice: ReleaseChoice | None) -> None:
        """Judge the newest release by the choice: it may be installed, or left, or the owner has a later one."""
        kept, self._is_installed = self._kept, False
        if choice is None or not kept.newest:
            return
        if Version(choice.current.version) > Version(kept.newest):
            kept.newest, kept.notes = choice.current.version, ""
        self._is_installed = choice.current.version == kept.newest
        if choice.fallen_back and choice.fallen_back.version == kept.newest and not self._is_installed:
            self._give_up(
                f"the node has left it, because {choice.fallen_back.why}. `openledger-node update` tries it again"
            )

    def _give_up(self, why: str, *, may_retry: bool = False) -> None:
        """Leave the release to the owner."""
        self._kept.tried, self._kept.why_not, self._kept.may_retry = self._kept.newest, why, may_retry

    # ---- words

    def _sentence(self) -> str:
        """The state in one sentence; empty if there is nothing to say."""
        kept = self._kept
        if not kept.newest:
            return f"the last look for a release has failed: {self._why_unseen}" if self._why_unseen else ""
        if self._is_installing:
            return f"version {kept.newest} is being installed"
        if kept.tried == kept.newest:
            state, does = ("installed", "start") if self._is_installed else ("available", "install")
            return f"version {kept.newest} is {state}, and the node does not {does} it by itself: {kept.why_not}"
        if self._is_installed:
            by_itself = "the node starts it when it is idle" if self._config.auto else "the next start runs it"
            return f"version {kept.newest} is installed; {by_itself}"
        if self._config.auto:
            return f"version {kept.newest} is available; the node installs it when it is idle"
        return f"version {kept.newest} is available: `openledger-node update` installs it"

    # ---- the file

    async def _save(self) -> None:
        """Keep what is known now. A full disk costs a look more after the next start."""
        if self._kept == self._saved:
            return
        try:
            await trio.to_thread.run_sync(self._write)
        except (NodeError, OSError) as error:
            log.info("the last look for a release can't be kept: %s", error)

    def _write(self) -> None:
        """Write the file.

        Raises:
            DiskError: the disk is full or read-only.
        """
        write_private(self._file, json.dumps({"schema": SCHEMA, **asdict(self._kept)}) + "\n", is_new=False)
        self._saved = replace(self._kept)


def read_look(file: Path) -> KeptLook:
    """Read the outcome of the last look; a file that is damaged or of another release counts for nothing."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept.pop("schema") != SCHEMA:
            raise ValueError("of another schema")
        found = KeptLook(**kept)
        if found.newest:
            Version(found.newest)
        if not (math.isfinite(found.looked_s) and math.isfinite(found.next_s)):
            raise ValueError("a time is no number")
        return found
    except FileNotFoundError:
        return KeptLook()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s can't be read (%s): it is begun anew", file, type(error).__name__)
        return KeptLook()


def _agree(new: InstalledRelease, running: InstalledRelease) -> None:
    """Refuse a switch that has no way back: the owner makes a backup first."""
    if new.ledger > running.ledger:
        raise NodeError(
            "it changes the ledger, so there is no way back from it. Make a backup with `openledger-node backup "
            "FILE`, and run `openledger-node update`"
        )
