"""The factory as plain values for JSON: trainings, and the choices for a new one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, get_args

from ..config import Config
from ..datanets.held import pulled_versions
from ..datanets.sample import SAMPLE_ID
from ..datanets.store import OwnDatanets
from ..home import Home
from ..models.bases import list_bases
from ..text import rfc3339
from .base_format import AUTO
from .evaluation import ROWS_USUAL
from .job import ALL_SITES, PERCENT, PRESETS, RSLORA_ALPHA, SITE_GROUPS, Method, Quantisation, Schedule, TrainingJob
from .training_run import TrainingRun

RUNS_SHOWN: Final = 20


def run_to_plain(run: TrainingRun, *, who: str | None) -> dict[str, Any]:
    """Convert a training in full; `who` is the process that works on it."""
    progress = run.progress
    return {
        **summary(run),
        "who": who,
        "is_cut_off": run.is_live and who is None,
        "trainer": run.trainer,
        "job": asdict(run.job),
        "format_why": run.format_why,
        "datanet": {"id": run.datanet.id, "version": run.datanet.version},
        "rows": run.num_rows,
        "held_out": run.num_held_out,
        "dropped": run.num_dropped,
        "evaluated_rows": run.evaluated_rows,
        "progress": asdict(progress) if progress else None,
        "history": [list(point) for point in run.history],
        "restarts": [asdict(each) for each in run.restarts],
        "stage": asdict(run.stage) if run.stage else None,
        "evaluation": run.evaluation,
    }


def summary(run: TrainingRun) -> dict[str, Any]:
    """Convert a training to a short form for lists."""
    return {
        "number": run.number,
        "name": run.job.name,
        "state": run.state,
        "base": run.base,
        "step": run.progress.step if run.progress else 0,
        "steps": run.progress.steps if run.progress else None,
        "loss": run.progress.loss if run.progress else None,
        "held_out_loss": run.progress.held_out_loss if run.progress else None,
        "started": rfc3339(run.started_ns / 1e9, "milliseconds"),
        "changed": rfc3339(run.changed_ns / 1e9, "milliseconds"),
        "adapter": run.adapter,
        "adapter_id": run.adapter_id,
        "error": run.error,
    }


def runs_to_plain(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """Convert the newest trainings."""
    return [summary(run) for run in runs[:RUNS_SHOWN]]


def choices_to_plain(home: Home, config: Config) -> dict[str, Any]:
    """List bases, Datanets and presets; the sample Datanet is always available."""
    bases = [base.name for base in list_bases(home)]
    if config.inference.base not in bases:
        bases.append(config.inference.base)
    datanets = [
        {
            "name": datanet.name,
            "id": None,  # its own, and not pulled
            "version": version.version,
            "rows": version.rows,
            "licence": datanet.licence,
        }
        for datanet in OwnDatanets(home).all()
        for version in datanet.versions[-1:]
    ]
    datanets += [
        {
            "name": each.name,
            "id": each.id,
            "version": str(each.version),
            "rows": each.num_rows,
            "licence": each.licence,
        }
        for each in pulled_versions(home)
    ]
    return {
        "served_base": config.inference.base,
        "bases": bases,
        "datanets": datanets,
        "sample": SAMPLE_ID,
        "presets": [{"name": name, **values} for name, values in PRESETS.items()],
        "usual": usual_to_plain(),
        "trainer": config.factory.trainer,
    }


def usual_to_plain() -> dict[str, Any]:
    """Return the defaults of the fields that neither an order nor a preset sets."""
    job = TrainingJob(name="usual")
    names = ("batch_size", "learning_rate", "tokens_max", "seed", "method", "sites", "dropout", "schedule")
    return {
        **{name: getattr(job, name) for name in (*names, "weight_decay")},
        "warm_up_percent": job.warm_up_ppm / PERCENT,
        "held_out_percent": job.held_out_ppm / PERCENT,
        "evaluate": ROWS_USUAL,
        "quantisation": AUTO,
        "methods": get_args(Method),
        "schedules": get_args(Schedule),
        "quantisations": [AUTO, *get_args(Quantisation)],
        "site_groups": [ALL_SITES, *SITE_GROUPS],
        "rslora_alpha": RSLORA_ALPHA,
    }
