"""What a person sees while an adapter is trained: a bar on a terminal, a few lines elsewhere."""

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


def describe(progress: TrainingProgress, held_out_loss: float | None) -> str:
    """The losses and the time left, those that are known; the held-out loss is the last that was measured."""
    known = {"loss {:.3f}": progress.loss, "held-out {:.3f}": held_out_loss, "{:.0f} s left": progress.time_left_s}
    return " · ".join(form.format(value) for form, value in known.items() if value is not None)


def is_worth_a_line(step: int, steps: int) -> bool:
    """Whether to print a line: at the start, and then `LINES_MAX` times at most, the last at the end."""
    return step == 0 or step * LINES_MAX // steps > (step - 1) * LINES_MAX // steps
