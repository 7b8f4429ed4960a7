"""Messages to and from the training process: one line of JSON each; wishes are single words."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row

from ..models.bases import Base
from .job import TrainingJob
from .trainer import (
    EvaluationInput,
    EvaluationProgress,
    EvaluationResult,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMessage:
    """The first line for the worker; the type of `given` tells it to train or to evaluate."""

    trainer: str  # a plug's name
    given: TrainingInput | EvaluationInput
    yields: bool = False  # to other processes on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The worker wrote a checkpoint and ends, as the owner asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureMessage:
    """The worker failed; the message is for the operator."""

    message: str


WorkerMessage = TrainingProgress | TrainingResult | EvaluationProgress | EvaluationResult | Paused | FailureMessage

WORKER_MESSAGES: dict[str, type[WorkerMessage]] = {
    "progress": TrainingProgress,
    "result": TrainingResult,
    "evaluating": EvaluationProgress,
    "evaluation": EvaluationResult,
    "paused": Paused,
    "failure": FailureMessage,
}


def encode_start(order: StartMessage) -> str:
    """Encode the line with its line end."""
    return json.dumps(to_plain(order), default=str) + "\n"


def decode_start(line: str) -> StartMessage:
    """Decode the line."""
    order: dict[str, Any] = json.loads(line)
    fields = order["given"]
    read = _evaluation_input if "general" in fields else _training_input
    return StartMessage(trainer=order["trainer"], given=read(fields), yields=order["yields"])


def rows_from_json(rows: list[dict[str, Any]]) -> tuple[Row, ...]:
    """Decode rows that `to_plain` encoded."""
    return tuple(Row(**row) for row in rows)


def encode_worker_message(news: WorkerMessage) -> str:
    """Encode one message as a line with its line end."""
    kind = next(name for name, cls in WORKER_MESSAGES.items() if type(news) is cls)
    return json.dumps({"t": kind, "news": to_plain(news)}) + "\n"


def decode_worker_message(line: str) -> WorkerMessage:
    """Decode one line."""
    message: dict[str, Any] = json.loads(line)
    fields = message["news"]
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return WORKER_MESSAGES[message["t"]](**{**fields, **lists})


def _training_input(fields: dict[str, Any]) -> TrainingInput:
    return TrainingInput(
        job=TrainingJob(**fields["job"]),
        rows=rows_from_json(fields["rows"]),
        held_out=rows_from_json(fields["held_out"]),
        base=_base(fields["base"]),
        folder=Path(fields["folder"]),
        checkpoint=Path(fields["checkpoint"]) if fields["checkpoint"] else None,
    )


def _evaluation_input(fields: dict[str, Any]) -> EvaluationInput:
    return EvaluationInput(
        job=TrainingJob(**fields["job"]),
        rows=rows_from_json(fields["rows"]),
        general=rows_from_json(fields["general"]),
        base=_base(fields["base"]),
        folder=Path(fields["folder"]),
        answer_tokens_max=fields["answer_tokens_max"],
    )


def _base(fields: dict[str, Any]) -> Base:
    paths = {key: Path(fields[key]) if fields.get(key) else None for key in ("folder", "gguf")}
    return Base(**{**fields, **paths})
