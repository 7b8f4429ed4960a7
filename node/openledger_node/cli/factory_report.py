"""What `factory` shows of trainings: how they go, what they gained, and what their rows look like to a model."""

from datetime import datetime
from typing import Any, Final

from ..home import Home
from ..inference.adapters import Adapter, find_adapter, list_adapters, shortest_name
from .render import emit_json, out_console, plain, say, show_lines, show_table

STYLES: Final = {"template": "blue", "text": "", "learned": "green", "learned_template": "blue"}
FIGURES: Final = (
    ("loss", "loss", ".3f"),
    ("held-out loss", "held_out_loss", ".3f"),
    ("tokens/s", "tokens_per_s", ",.0f"),
)
GAINS: Final = (
    ("held-out loss", "loss", False),
    ("ROUGE-L", "rouge_l", False),
    ("exact match", "exact", True),
    ("general set, loss", "general_loss", False),
)


def show_run(run: dict[str, Any] | None, *, only_evaluation: bool = False) -> None:
    """One training, and what its adapter gained over the base."""
    if run is None:
        out_console.print("nothing has been trained here yet: `openledger-node factory train --sample --name NAME`")
        return
    if not only_evaluation:
        show_lines(_lines(run))
    if evaluation := run["evaluation"]:
        _show_evaluation(evaluation)


def show_runs(runs: list[dict[str, Any]]) -> None:
    """Those before it."""
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
    """Three rows, their counts, and what training would take."""
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
            "memory": _memory(estimate),
            "time": f"about {estimate['time']['seconds']:,.0f} s, {estimate['time']['how']}"
            if estimate["time"]
            else "not known",
        }
    )


def _lines(run: dict[str, Any]) -> dict[str, str]:
    progress, datanet = run["progress"], run["datanet"]
    lines = {
        "training": f"{run['number']}, {run['name']} on {run['base']}",
        "state": _state(run),
        "rows": f"{run['rows']} of {datanet['id']} {datanet['version']}, {run['held_out']} held out, "
        f"{run['dropped']} left out",
    }
    if progress:
        lines["step"] = f"{progress['step']} of {progress['steps']}"
        lines |= {label: f"{progress[name]:{form}}" for label, name, form in FIGURES if progress[name] is not None}
        if run["state"] == "training" and progress["time_left_s"] is not None:
            lines["left"] = f"{progress['time_left_s']:,.0f} s"
    for restart in run["restarts"][-3:]:
        where = f"went on from step {restart['step']}" if restart["step"] else "began again from the start"
        lines[f"at {restart['at'][11:19]}"] = f"{where}: {restart['why']}"
    if run["adapter"]:
        lines["adapter"] = run["adapter"]
    return lines


def _state(run: dict[str, Any]) -> str:
    if run["error"]:
        return f"{run['state']}: {run['error']}"
    if run["is_cut_off"]:
        return f"{run['state']}, and nobody works on it: `openledger-node factory resume` goes on"
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


def _memory(estimate: dict[str, Any]) -> str:
    memory = estimate["memory"]
    if memory is None:
        return estimate["why"] or "not known"
    fits = "fits" if memory["fits"] else "does not fit"
    return (
        f"{memory['needed_bytes'] / 1e9:.1f} GB beside {memory['serving_bytes'] / 1e9:.1f} GB that serve, "
        f"of {memory['cap_bytes'] / 1e9:.1f}: {fits}; {memory['how']}"
    )


def _styled(piece: dict[str, str]) -> str:
    style, lines = STYLES[piece["kind"]], [plain(line) for line in piece["text"].split("\n")]
    text = "\n".join(lines)
    return f"[{style}]{text}[/]" if style else text


def show_state(run: dict[str, Any], *, as_json: bool) -> None:
    """How a training is."""
    if as_json:
        emit_json("training_run", run)
    else:
        show_run(run)


def show_adapter(home: Home, run: dict[str, Any], *, as_json: bool) -> None:
    """What a training has put on the shelf."""
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
        say(f"{run['dropped']} rows were left out: they have more than {run['job']['tokens_max']} tokens")
    out_console.print(f"held-out loss: {before:.3f} before, {after:.3f} after ({evaluation['rows']} rows)")
    if after >= before:
        say("[yellow]it learned nothing that carries over:[/] give more rows, or fewer epochs")
    show_run(run, only_evaluation=True)
    out_console.print(f"ask it: `openledger-node chat --model {shortest_name(adapter, adapters)}`")
