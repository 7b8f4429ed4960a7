"""The training process: `python -m openledger_node.factory.worker` reads one order and reports its progress.

The order on stdin is followed by wishes, one word per line. The process ends when its stdin closes, so that no
training outlives its parent, however the parent ended.
"""

import os
import sys
import threading
from typing import IO, get_args

from openledger_protocol.errors import ProtocolError

from ..errors import NodeError
from ..plugs import load_plug
from .messages import FailureMessage, Paused, StartMessage, WorkerMessage, decode_start, encode_worker_message
from .trainer import (
    EvaluationResult,
    PausedError,
    Report,
    Trainer,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)

STDOUT, STDERR = 1, 2


def main() -> None:
    """Carry out the order on the first line."""
    channel = _claim_stdout()
    order = decode_start(sys.stdin.readline())
    wishes = Wishes()
    threading.Thread(target=wishes.listen, daemon=True).start()

    def tell(news: WorkerMessage) -> None:
        channel.write(encode_worker_message(news))
        channel.flush()

    def report(progress: TrainingProgress) -> Wish | None:
        tell(progress)
        return wishes.newest

    try:
        tell(_carry_out(order, report))
    except PausedError:
        tell(Paused())
    except (NodeError, ProtocolError) as error:
        tell(FailureMessage(message=str(error)))


def _carry_out(order: StartMessage, report: Report) -> TrainingResult | EvaluationResult:
    trainer: Trainer = load_plug("trainer", order.trainer)()
    if isinstance(order.given, TrainingInput):
        return trainer.train(order.given, report)
    return trainer.evaluate(order.given)


class Wishes:
    """The newest wish of the parent."""

    def __init__(self) -> None:
        self.newest: Wish | None = None

    def listen(self) -> None:
        """Read wishes until the parent is gone, then end this process."""
        for line in sys.stdin:
            self.newest = next((wish for wish in get_args(Wish) if wish == line.strip()), self.newest)
        os._exit(1)


def _claim_stdout() -> IO[str]:
    """Keep stdout for our messages; output of libraries goes to stderr."""
    channel = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8")
    os.dup2(STDERR, STDOUT)
    return channel


if __name__ == "__main__":
    main()
