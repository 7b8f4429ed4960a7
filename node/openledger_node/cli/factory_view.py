"""Output of `factory`: progress and results of trainings, and rows as the model sees them."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..factory.trainer import TrainingProgress
from ..factory.training_run import Stage, StageName
from ..home import Home
from ..models.adapters import Adapter, find_adapter, shortest_name
from ..models.library import list_adapters
from .render import emit_json, err_console, out_console, plain, say, show_lines, show_table

STYLES: Final = {"template": "blue", "text": "", "learned": "green", "learned_template": "blue"}
FIGURES: Final = (
    ("loss", "loss", ".3f"),
    ("held-out loss", "held_out_loss", ".3f"),
    ("tokens/s", "tokens_per_s", ",.0f"),
)
SIDES: Final = (("held-out row", "reference"), ("base", "base"), ("adapter", "adapter"))
FORMATS: Final[dict[str, str]] = {"none": "wide", "int4": "in 4 bits (int4)"}
SMALLER: Final = "--gradient-checkpointing and a smaller --batch-size need less"
SAMPLES_SHOWN: Final = 3
GAINS: Final = (
    ("held-out loss", "loss", False),
    ("ROUGE-L", "rouge_l", False),
    ("exact match", "exact", True),
    ("general set, loss", "general_loss", False),
)


def show_run(run: dict[str, Any] | None, *, only_evaluation: bool = False) -> None:
    """Show a training, and the gains of its adapter over the base."""
    if run is None:
        out_console.print("no training yet: start one with `openledger-node factory train --sample --name NAME`")
        return
    if not only_evaluation:
        show_lines(_lines(run))
    if evaluation := run["evaluation"]:
        _show_evaluation(evaluation)


def show_runs(runs: list[dict[str, Any]]) -> None:
    """Show a table of all trainings, if there are several."""
    if len(runs) < 2:
        return
    rows = [
        [
            str(run["number"]),
            run["name"],
            run["state"],
            run["base"],
            f"{run['step']} of {run['steps']}" if run["steps"] else "-",
            f"{run['held_out_loss']:.3f}" if run["held_out_loss"] is not None else "-",
            run["adapter"] or "-",
        ]
        for run in runs
    ]
    out_console.print()
    show_table(["run", "name", "state", "base", "step", "held-out", "adapter"], rows, empty="")


def show_preview(found: dict[str, Any]) -> None:
    """Show three rows, the counts of all rows, and the estimate."""
    for row in found["rows"]:
        pieces = [_styled(piece) for piece in row["pieces"]]
        out_console.print(f"[dim]{plain(row['contributor'])}, {row['tokens']} tokens[/]")
        out_console.print("".join(pieces) + "\n")
    tokens, estimate = found["tokens"], found["estimate"]
    show_lines(
        {
            "rows": f"{found['used']} to learn, {found['held_out']} held out, {found['dropped']} left out as longer "
            f"than {found['tokens_max']} tokens",
            "tokens": f"{tokens['total']:,}; {tokens['median']} a row in the middle, 95 % under {tokens['p95'] + 1}",
            "people": f"{found['people']}, the largest with {found['largest_share_ppm'] / 10_000:.1f} % of the rows",
            "steps": str(estimate["steps"]),
            **_format(estimate["quantisation"], estimate["why_quantisation"]),
            "memory": _memory(estimate),
            "time": _time(estimate),
        }
    )


def say_format(run: dict[str, Any]) -> None:
    """Say which form the frozen base has in a training and why, unless nothing else was possible."""
    for label, text in _format(run["job"]["quantisation"], run["format_why"]).items():
        say(f"{label}: {plain(text)}")


def _format(quantisation: str, why: str | None) -> dict[str, str]:
    return {"base weights": f"{FORMATS[quantisation]}; {why}"} if why else {}


def _time(estimate: dict[str, Any]) -> str:
    time_s = estimate["time"]
    if time_s is None:
        return "not known"
    answers = (
        f", {time_s['evaluation_seconds']:,.0f} of them for the evaluation" if time_s["evaluation_seconds"] else ""
    )
    return f"about {time_s['seconds']:,.0f} s{answers}, {time_s['how']}"


def _lines(run: dict[str, Any]) -> dict[str, str]:
    progress, datanet = run["progress"], run["datanet"]
    lines = {
        "training": f"{run['number']}, {run['name']} on {run['base']}",
        "state": _state(run),
        "rows": f"{run['rows']} of {datanet['id']} {datanet['version']}, {run['held_out']} held out, "
        f"{run['dropped']} left out",
        **_format(run["job"]["quantisation"], run["format_why"]),
    }
    if progress:
        lines["step"] = f"{progress['step']} of {progress['steps']}"
        lines |= {label: f"{progress[name]:{form}}" for label, name, form in FIGURES if progress[name] is not None}
        if run["state"] == "training" and progress["time_left_s"] is not None:
            lines["left"] = f"{progress['time_left_s']:,.0f} s"
    if run["stage"]:
        lines["now"] = describe_stage(Stage(**run["stage"]))
    for restart in run["restarts"][-3:]:
        where = f"resumed from step {restart['step']}" if restart["step"] else "restarted from the beginning"
        lines[f"at {restart['at'][11:19]}"] = f"{where}: {restart['why']}"
    if run["adapter"]:
        lines["adapter"] = run["adapter"]
    return lines


def _state(run: dict[str, Any]) -> str:
    if run["error"]:
        return f"{run['state']}: {run['error']}"
    if run["is_cut_off"]:
        return f"{run['state']}, interrupted: continue it with `openledger-node factory resume`"
    return f"{run['state']} by another process" if run["who"] == "elsewhere" else run["state"]


def _show_evaluation(evaluation: dict[str, Any]) -> None:
    if "error" in evaluation:
        say(f"[yellow]not evaluated:[/] {plain(evaluation['error'])}")
        return
    rows = []
    for label, name, is_share in GAINS:
        base, adapter = evaluation[name]["base"], evaluation[name]["adapter"]
        scale, form, unit = (100, ".1f", " %") if is_share else (1, ".3f", "")
        figures = [f"{scale * base:{form}}{unit}", f"{scale * adapter:{form}}{unit}"]
        rows.append([label, *figures, f"{scale * (adapter - base):+{form}}{unit}"])
    won = evaluation["wins"]
    rows.append(["wins side by side", "-", f"{100 * won['share']:.0f} %", f"± {100 * won['plus_minus']:.0f}"])
    show_table([f"on {evaluation['rows']} held-out rows", "base", "adapter", "change"], rows, empty="")
    for sample in evaluation.get("samples", ())[:SAMPLES_SHOWN]:
        out_console.print(f"\n[bold]{plain(sample['prompt'])}[/]")
        show_lines({label: sample[name] or "-" for label, name in SIDES})


def _memory(estimate: dict[str, Any]) -> str:
    memory = estimate["memory"]
    if memory is None:
        return estimate["why"] or "not known"
    smaller = SMALLER if estimate["quantisation"] == "int4" else f"--quantize int4, {SMALLER}"
    fits = "fits" if memory["fits"] else f"does not fit ({smaller})"
    return (
        f"{memory['needed_bytes'] / 1e9:.1f} GB beside {memory['serving_bytes'] / 1e9:.1f} GB that serve, "
        f"of {memory['cap_bytes'] / 1e9:.1f}: {fits}; {memory['how']}"
    )


def _styled(piece: dict[str, str]) -> str:
    style, lines = STYLES[piece["kind"]], [plain(line) for line in piece["text"].split("\n")]
    text = "\n".join(lines)
    return f"[{style}]{text}[/]" if style else text


def show_state(run: dict[str, Any], *, as_json: bool) -> None:
    """Show the state of a training."""
    if as_json:
        emit_json("training_run", run)
    else:
        show_run(run)


def show_adapter(home: Home, run: dict[str, Any], *, as_json: bool) -> None:
    """Show the adapter of a training, with its losses."""
    adapters = list_adapters(home)
    adapter: Adapter = find_adapter(adapters, run["adapter"])
    training: dict[str, Any] = adapter.manifest.training or {}
    evaluation: dict[str, Any] = adapter.manifest.evaluation or {}
    before, after = evaluation["loss_before"], evaluation["loss_after"]
    seconds = (datetime.fromisoformat(run["changed"]) - datetime.fromisoformat(run["started"])).total_seconds()
    if as_json:
        fields = {
            "name": adapter.name,
            "full_name": adapter.full_name,
            "id": adapter.id,
            "folder": str(adapter.folder),
            "base": adapter.manifest.base.name,
            "steps": training["steps"],
            "loss_before": before,
            "loss_after": after,
            "duration_s": round(seconds, 3),
            "rows": training["rows"],
            "held_out": evaluation["rows"],
            "dropped": run["dropped"],
            "run": run["number"],
            "evaluation": run["evaluation"],
        }
        emit_json("training", fields)
        return
    out_console.print(f"[bold]{adapter.full_name}[/] was trained on {training['rows']} rows in {seconds:.0f} s")
    if run["dropped"]:
        say(f"{run['dropped']} rows were left out because they have more than {run['job']['tokens_max']} tokens")
    out_console.print(f"held-out loss: {before:.3f} before, {after:.3f} after ({evaluation['rows']} rows)")
    if after >= before:
        say("[yellow]the adapter does not generalise:[/] try more rows, or fewer epochs")
    show_run(run, only_evaluation=True)
    out_console.print(f"try it: `openledger-node chat --model {shortest_name(adapter, adapters)}`")


# ---- Progress of a training: a bar on a terminal, a few lines elsewhere

LINES_MAX = 16


class TrainingReport:
    """Shows step, losses and time left; call it with each progress report."""

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
        self._said: tuple[StageName, int] | None = None

    def __enter__(self) -> "TrainingReport":
        """Show the bar."""
        if err_console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if err_console.is_terminal:
            self._bar.stop()

    def __call__(self, progress: TrainingProgress) -> None:
        """Show a progress report."""
        if progress.held_out_loss is not None:
            self._held_out_loss = progress.held_out_loss
        text = describe(progress, self._held_out_loss)
        if err_console.is_terminal:
            self._bar.update(self._task, completed=progress.step, total=progress.steps, description=text)
        elif is_worth_a_line(progress.step, progress.steps):
            say(f"  step {progress.step} of {progress.steps} · {text}")

    def stage(self, stage: Stage) -> None:
        """Show the work after the last step; elsewhere than on a terminal, at most five lines of each kind."""
        if err_console.is_terminal:
            self._bar.update(self._task, completed=stage.done, total=stage.total, description=describe_stage(stage))
            return
        part = (stage.name, stage.done * STAGE_LINES // stage.total)
        if part != self._said:
            self._said = part
            say(f"  {describe_stage(stage)}")


def follow(
    run: dict[str, Any],
    look: Callable[[], dict[str, Any]],
    report: TrainingReport,
    *,
    poll_s: float,
) -> dict[str, Any]:
    """Report the progress of a training in another process until it ends, pauses or is interrupted."""
    said = run["step"] if run["state"] == "evaluating" else -1  # the training steps were made before this call
    while True:
        for step, loss, held_out_loss in run["history"]:
            if step > said:
                said = step
                report(_progress(run, step, loss, held_out_loss))
        if run["stage"]:
            report.stage(Stage(**run["stage"]))
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
    """Describe the known losses and the time left; the held-out loss is the newest measurement."""
    known = {"loss {:.3f}": progress.loss, "held-out {:.3f}": held_out_loss, "{:.0f} s left": progress.time_left_s}
    return " · ".join(form.format(value) for form, value in known.items() if value is not None)


STAGES: Final[dict[StageName, str]] = {
    "answering": "base and adapter answer held-out rows",
    "indexing": "writing the attribution index",
    "adding": "adding the adapter to the library",
}
STAGE_LINES: Final = 4


def describe_stage(stage: Stage) -> str:
    """Describe the work after the last step, with its progress and the time left if they are known."""
    count = f" · {stage.done} of {stage.total} answers" if stage.name == "answering" else ""
    left = f" · {stage.time_left_s:.0f} s left" if stage.time_left_s else ""
    return f"{STAGES[stage.name]}{count}{left}"


def is_worth_a_line(step: int, steps: int) -> bool:
    """Return True to print a line: at the start, then at most `LINES_MAX` times, the last at the end."""
    return step == 0 or step * LINES_MAX // steps > (step - 1) * LINES_MAX // steps
