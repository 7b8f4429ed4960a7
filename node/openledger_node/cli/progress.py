"""Progress of a long task: a bar on a terminal, a few plain lines elsewhere, and nothing if it should be quiet."""

import time
from collections.abc import Callable
from typing import Final

from rich.progress import BarColumn, Progress, TextColumn

from ..engine.load_steps import WORDS, LoadStep
from ..models.fetch import Progress as Stage
from .render import err_console, megabytes, plain, say

LINE_INTERVAL_S: Final = 3.0
"""Time between two plain lines about one stage."""

NOTE_INTERVAL_S: Final = 1.0
DOWNLOADING: Final = "downloading"


class StageReport:
    """Shows the stages of a download, of a conversion and of an engine that loads its base."""

    def __init__(
        self,
        *,
        is_quiet: bool = False,
        note: Callable[[str], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`note` gets each stage, and the progress of one each second, as a text."""
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"))
        self._bar = Progress(*columns, console=err_console, transient=True)
        self._task = self._bar.add_task("", total=None, figures="")
        self._is_quiet = is_quiet
        self._note = note
        self._now_s = now_s
        self._what = ""
        self._began_s = self._said_at_s = self._noted_at_s = 0.0
        self._began_done = 0

    def __enter__(self) -> "StageReport":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self.end()

    def end(self) -> None:
        """Remove the bar; stages that are reported later are not shown."""
        self._is_quiet = True
        if err_console.is_terminal:
            self._bar.stop()

    def __call__(self, stage: Stage) -> None:
        """Show a new stage of a download or a conversion, or the progress of the stage."""
        is_new = self._begin(stage.what, stage.done)
        figures = self._figures(stage) if stage.total > 1 else ""
        self._show(is_new, stage.done / stage.total if stage.total > 1 else None, figures)
        if stage.what == DOWNLOADING and stage.done >= stage.total > self._began_done:
            self._say(f"  downloaded {megabytes(stage.total)} in {self._now_s() - self._began_s:.1f} s")

    def count(self, what: str, done: int, total: int) -> None:
        """Show how many of the things of a stage are done."""
        is_new = self._begin(what, done)
        self._show(is_new, done / total if total else None, f"{done:,} of {total:,}")

    def load_step(self, step: LoadStep) -> None:
        """Show a step of loading the base."""
        is_new = self._begin(WORDS[step.phase], step.done)
        percent = step.percent
        self._show(is_new, None if percent is None else percent / 100, "" if percent is None else f"{percent} %")

    def _begin(self, what: str, done: int) -> bool:
        """Return True if this is a new stage."""
        if what == self._what:
            return False
        self._what, self._began_s, self._began_done = what, self._now_s(), done
        return True

    def _show(self, is_new: bool, part: float | None, figures: str) -> None:
        now_s = self._now_s()
        if self._note and (is_new or now_s - self._noted_at_s >= NOTE_INTERVAL_S):
            self._noted_at_s = now_s
            self._note(f"{self._what}, {figures}" if figures else self._what)
        if self._is_quiet:
            return
        if err_console.is_terminal:
            self._bar.update(self._task, description=plain(self._what), total=None if part is None else 1.0)
            self._bar.update(self._task, completed=part or 0.0, figures=plain(figures))
            self._bar.start()
        elif is_new or now_s - self._said_at_s >= LINE_INTERVAL_S:
            self._said_at_s = now_s
            self._say(f"  {self._what}, {figures}" if figures and not is_new else f"  {self._what} …")

    def _figures(self, stage: Stage) -> str:
        """The bytes that are done, and after the first second the rate and the time that is left."""
        done = f"{megabytes(stage.done)} of {megabytes(stage.total)}"
        took_s, fresh = self._now_s() - self._began_s, stage.done - self._began_done
        if took_s < 1 or fresh <= 0:
            return done
        left_s = (stage.total - stage.done) * took_s / fresh
        return f"{done}, {megabytes(int(fresh / took_s))}/s, {left_s:.0f} s left"

    def _say(self, text: str) -> None:
        if not self._is_quiet:
            say(plain(text))
