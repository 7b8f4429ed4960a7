"""What the training process is told and what it tells: one line of JSON each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row

from ..inference.bases import Base
from .job import TrainingJob
from .trainer import TrainingInput, TrainingProgress, TrainingResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The one line that it is told."""

    trainer: str  # a plug's name
    given: TrainingInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """It gives up; the message is for the operator."""

    message: str


News = TrainingProgress | TrainingResult | Failure

NEWS: dict[str, type[News]] = {"progress": TrainingProgress, "result": TrainingResult, "failure": Failure}


def encode_order(order: Order) -> str:
    """Write the line, its end included."""
    return json.dumps(to_plain(order), default=str) + "\n"


def decode_order(line: str) -> Order:
    """Read the line."""
    order: dict[str, Any] = json.loads(line)
    fields = order["given"]
    base, folder = fields["base"], fields["base"]["folder"]
    given = TrainingInput(
        job=TrainingJob(**fields["job"]),
        rows=tuple(Row(**row) for row in fields["rows"]),
        held_out=tuple(Row(**row) for row in fields["held_out"]),
        base=Base(**{**base, "folder": Path(folder) if folder else None}),
        folder=Path(fields["folder"]),
    )
    return Order(trainer=order["trainer"], given=given)


def encode_news(news: News) -> str:
    """Write one line, its end included."""
    kind = next(name for name, cls in NEWS.items() if type(news) is cls)
    return json.dumps({"t": kind, "news": to_plain(news)}) + "\n"


def decode_news(line: str) -> News:
    """Read one line."""
    fields: dict[str, Any] = json.loads(line)
    return NEWS[fields["t"]](**fields["news"])
