"""What a person sees while an adapter is trained: a bar on a terminal, a few lines elsewhere."""

import time
from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..factory.trainer import TrainingProgress
from .render import err_console, say

LINES_MAX = 16


class TrainingReport:
    """Shows step, losses and the time that is left; call it with each progress."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=err_console,
            transient=True,
        )
        self._task = self._bar.add_task("loading the base …", total=None)
        self._held_out_loss: float | None = None

    def __enter__(self) -> "TrainingReport":
        """Begin."""
        if err_console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if err_console.is_terminal:
            self._bar.stop()

    def __call__(self, progress: TrainingProgress) -> None:
        """Show how far it is."""
        if progress.held_out_loss is not None:
            self._held_out_loss = progress.held_out_loss
        text = describe(progress, self._held_out_loss)
        if err_console.is_terminal:
            self._bar.update(self._task, completed=progress.step, total=progress.steps, description=text)
        elif is_worth_a_line(progress.step, progress.steps):
            say(f"  step {progress.step} of {progress.steps} · {text}")


def follow(
    run: dict[str, Any],
    look: Callable[[], dict[str, Any]],
    report: Callable[[TrainingProgress], None],
    *,
    poll_s: float,
) -> dict[str, Any]:
    """Report how a training goes that another process works on, until it ends, waits, or nobody works on it."""
    is_measured = False
    said = run["step"] if run["state"] == "evaluating" else -1  # what is measured now was learned before
    while True:
        for step, loss, held_out_loss in run["history"]:
            if step > said:
                said = step
                report(_progress(run, step, loss, held_out_loss))
        if run["state"] == "evaluating" and not is_measured:
            is_measured = True
            say(f"  base and adapter answer {min(run['evaluated_rows'], run['held_out'])} held-out rows …")
        if run["state"] in ("paused", "done", "stopped", "failed") or run["is_cut_off"]:
            return run
        time.sleep(poll_s)
        run = look()


def _progress(run: dict[str, Any], step: int, loss: float | None, held_out_loss: float | None) -> TrainingProgress:
    newest = run["progress"]
    return TrainingProgress(
        step=step,
        steps=newest["steps"],
        loss=loss,
        held_out_loss=held_out_loss,
        time_left_s=newest["time_left_s"] if step == newest["step"] else None,
        tokens_per_s=newest["tokens_per_s"],
    )


def describe(progress: TrainingProgress, held_out_loss: float | None) -> str:
    """The losses and the time left, those that are known; the held-out loss is the last that was measured."""
    known = {"loss {:.3f}": progress.loss, "held-out {:.3f}": held_out_loss, "{:.0f} s left": progress.time_left_s}
    return " · ".join(form.format(value) for form, value in known.items() if value is not None)


def is_worth_a_line(step: int, steps: int) -> bool:
    """Whether to print a line: at the start, and then `LINES_MAX` times at most, the last at the end."""
    return step == 0 or step * LINES_MAX // steps > (step - 1) * LINES_MAX // steps
