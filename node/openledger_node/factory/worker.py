"""The training process: `python -m openledger_node.factory.worker` reads one order and tells how it goes.

It ends when its stdin does, however the parent went, so that no training is left running for nobody.
"""

import os
import sys
import threading
from typing import IO

from openledger_protocol.errors import ProtocolError

from ..errors import NodeError
from ..plugs import load_plug
from .lines import Failure, News, decode_order, encode_news
from .trainer import Trainer

STDOUT, STDERR = 1, 2


def main() -> None:
    """Train what the first line orders."""
    channel = _claim_stdout()
    order = decode_order(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(news: News) -> None:
        channel.write(encode_news(news))
        channel.flush()

    try:
        trainer: Trainer = load_plug("trainer", order.trainer)()
        tell(trainer.train(order.given, tell))
    except (NodeError, ProtocolError) as error:
        tell(Failure(message=str(error)))


def _claim_stdout() -> IO[str]:
    """Keep stdout for our lines: what libraries print goes to stderr with the rest."""
    channel = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8")
    os.dup2(STDERR, STDOUT)
    return channel


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
