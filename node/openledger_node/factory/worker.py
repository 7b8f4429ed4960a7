"""The training process: `python -m openledger_node.factory.worker` reads one order and reports its progress.

The order on stdin is followed by wishes, one word per line. The process ends when its stdin closes, so that no
training outlives its parent, however the parent ended.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, get_args

from openledger_protocol.errors import ProtocolError

from ..errors import NodeError
from ..plugs import load_plug
from .messages import FailureMessage, Paused, StartMessage, WorkerMessage, decode_start, encode_worker_message
from .trainer import (
    EvaluationResult,
    PausedError,
    Report,
    ReportEvaluation,
    Trainer,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)

STDOUT, STDERR = 1, 2
YIELDING: Final = 10
"""Niceness: a tenth of the processor's time while others want it, so that a training on a busy machine ends."""

AUTOGROUP_FILE: Final = Path("/proc/self/autogroup")


def main() -> None:
    """Carry out the order on the first line."""
    channel = _claim_stdout()
    order = decode_start(sys.stdin.readline())
    if order.yields:
        yield_to_others()
    wishes = Wishes()
    threading.Thread(target=wishes.listen, daemon=True).start()

    def tell(news: WorkerMessage) -> None:
        channel.write(encode_worker_message(news))
        channel.flush()

    def report(progress: TrainingProgress) -> Wish | None:
        tell(progress)
        return wishes.newest

    try:
        tell(_carry_out(order, report, tell))
    except PausedError:
        tell(Paused())
    except (NodeError, ProtocolError) as error:
        tell(FailureMessage(message=str(error)))


def _carry_out(order: StartMessage, report: Report, tell: ReportEvaluation) -> TrainingResult | EvaluationResult:
    trainer: Trainer = load_plug("trainer", order.trainer)()
    if isinstance(order.given, TrainingInput):
        return trainer.train(order.given, report)
    return trainer.evaluate(order.given, tell)


class Wishes:
    """The newest wish of the parent."""

    def __init__(self) -> None:
        self.newest: Wish | None = None

    def listen(self) -> None:
        """Read wishes until the parent is gone, then end this process."""
        for line in sys.stdin:
            self.newest = next((wish for wish in get_args(Wish) if wish == line.strip()), self.newest)
        os._exit(1)


def yield_to_others() -> None:
    """Let other processes have the processors first.

    Linux may share them out between sessions first, and this process leads a session of its own, so the session has
    to yield as well. Systems that share them out otherwise have no such file.
    """
    os.nice(YIELDING)
    with suppress(OSError):
        AUTOGROUP_FILE.write_text(str(YIELDING))


def _claim_stdout() -> IO[str]:
    """Keep stdout for our messages; output of libraries goes to stderr."""
    channel = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8")
    os.dup2(STDERR, STDOUT)
    return channel


if __name__ == "__main__":
    main()
