from pathlib import Path

import pytest

from openledger_node.factory.job import TrainingJob
from openledger_node.factory.messages import (
    FailureMessage,
    StartMessage,
    WorkerMessage,
    decode_start,
    decode_worker_message,
    encode_start,
    encode_worker_message,
)
from openledger_node.factory.trainer import TrainingInput, TrainingProgress, TrainingResult
from openledger_node.models.bases import FAKE_BASE, Base
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

ROW = Row(prompt="Who?\nYou\u2028?", completion="Ada “does”.", contributor="ada")
BASE = Base(name="b", digest=Digest("0x00"), folder=Path("/b"), tokenizer_digest=None, chat_template_digest=None)


@pytest.mark.parametrize("base", [BASE, FAKE_BASE])
def test_an_order_arrives_as_it_was_given(base: Base) -> None:
    job = TrainingJob(name="n", learning_rate=0.1 + 0.2)
    given = TrainingInput(job=job, rows=(ROW,), held_out=(ROW, ROW), base=base, folder=Path("/out"))
    order = StartMessage(trainer="fake", given=given)
    line = encode_start(order)
    assert line.count("\n") == 1
    assert decode_start(line) == order


@pytest.mark.parametrize(
    "news",
    [
        TrainingProgress(step=1, steps=2, loss=0.1, held_out_loss=None, time_left_s=3.5),
        TrainingResult(steps=2, loss_before=4.0, loss_after=0.25),
        FailureMessage(message="two\nlines"),
    ],
)
def test_news_arrive_as_they_were_told(news: WorkerMessage) -> None:
    line = encode_worker_message(news)
    assert line.count("\n") == 1
    assert decode_worker_message(line) == news
