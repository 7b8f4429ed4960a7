"""Progress of a long task on the terminal."""

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..models.fetch import Progress as Stage
from .render import err_console, megabytes, say

LINE_EVERY_PPM = 200_000
"""Without a terminal, progress is one line per fifth of the work."""


class StageReport:
    """Progress of a long task: a bar on a terminal, a few lines elsewhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=err_console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._stage = ""
        self._said_ppm = 0

    def __enter__(self) -> "StageReport":
        """Show the bar."""
        if err_console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if err_console.is_terminal:
            self._bar.stop()

    def __call__(self, stage: Stage) -> None:
        """Show a new stage, or progress within the stage."""
        if stage.what != self._stage:
            self._stage, self._said_ppm = stage.what, 0
            if stage.what != "downloading":
                say(f"  {stage.what} …")
        if stage.what == "downloading":
            self._show_download(stage)

    def _show_download(self, stage: Stage) -> None:
        if err_console.is_terminal:
            is_over = stage.done >= stage.total
            self._bar.update(
                self._task, description="downloading", completed=stage.done, total=stage.total, visible=not is_over
            )
        elif stage.done * 1_000_000 >= stage.total * self._said_ppm:
            say(f"  downloading {megabytes(stage.done)} of {megabytes(stage.total)}")
            self._said_ppm += LINE_EVERY_PPM
