"""The training that runs now, for `status` and the page's Home."""

from typing import Any

from ..factory.runs import Runs
from ..factory.training_run import TrainingRun
from ..home import Home, is_training
from ..text import counted


class TrainingNow:
    """Reads the training under way; a file is read again only if it has changed. Blocks."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._runs = Runs(home)

    def read(self, *, answers: bool) -> dict[str, Any] | None:
        """The training for JSON; None while none runs. `answers`: requests are answered meanwhile."""
        if not is_training(self._home):
            return None
        run = next((run for run in self._runs.all() if run.is_live), None)
        return training_to_plain(run, answers=answers) if run else None


def training_to_plain(run: TrainingRun, *, answers: bool) -> dict[str, Any]:
    """Name, progress and time left of a training, and one sentence of them."""
    progress = run.progress
    fields = {
        "number": run.number,
        "name": run.job.name,
        "state": run.state,
        "step": progress.step if progress else 0,
        "steps": progress.steps if progress else None,
        "time_left_s": progress.time_left_s if progress else None,
        "answers": answers,
    }
    return {**fields, "says": _sentence(fields)}


def _sentence(fields: dict[str, Any]) -> str:
    step, steps, left_s = fields["step"], fields["steps"], fields["time_left_s"]
    verb = "evaluating" if fields["state"] == "evaluating" else "training"
    parts = [f"{verb} {fields['name']}"]
    if steps and verb == "training":
        parts.append(f"step {step:,} of {steps:,} ({100 * step // steps} %)")
    if left_s is not None and verb == "training":
        parts.append(f"about {_about(left_s)} left")
    meanwhile = "requests are answered meanwhile" if fields["answers"] else "no request is answered meanwhile"
    return f"{', '.join(parts)}; {meanwhile}"


def _about(seconds: float) -> str:
    """Format a length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else counted(round(seconds / 3_600), "hour")
