"""One forward pass per learned row, in a process of its own, that writes the index of signals of a new adapter.

`python -m openledger_node.factory.signal_pass` reads a pass as JSON from the first line of its standard input, and
ends when that closes. Base and adapter take gigabytes, which are freed when it ends.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError, AttributionError
from openledger_protocol.primitives import AdapterId, Digest

from ..engine.backend import BackendSettings
from ..errors import ModelError, NodeError
from ..models.adapter_source import AdapterSource
from ..models.adapters import artifact_digest
from ..plugs import load_plug
from .child import hang_up, last_words, say, start_worker
from .worker import yield_to_others

MODULE: Final = "openledger_node.factory.signal_pass"
STDIN: Final = 0

BACKEND: Final = "torch_lora"
"""The backend whose taps make the index; the steps of others give the same up to rounding."""

EXAMPLES_MODULE: Final = "openledger_node.factory.trainers.examples"
"""Encodes rows as the trainers do. It is imported by name, as trainers are."""

STATISTICS_TOKENS_MAX: Final = 32_768
"""Tokens that statistics are measured on at most. Each takes up to 9 KB of memory, so all take up to 300 MB."""

ADAPTER: Final = AdapterId("0x" + "00" * 32)
"""Stands for the adapter within the process: it has no id yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPass:
    """An adapter, the rows that it learned, and the folder for their signals."""

    base_folder: str
    adapter_folder: str
    folder: str
    rows_root: Digest
    rows: tuple[Row, ...]
    device: str
    tokens_max: int  # of a row
    yields: bool = False  # to other processes on this machine
    quantisation: str = "auto"  # of the base; that of the training if it was in 4 bits


IsOver = Callable[[], bool]
"""Tells whether a long pass should end before it is done."""

LOOK_EVERY_S: Final = 0.5


class PassEndedError(Exception):
    """The pass ended early, as its caller wished."""


def run_signal_pass(given: SignalPass, is_over: IsOver = lambda: False) -> None:
    """Build the index of signals in a child process, which is killed as soon as `is_over` is true.

    Raises:
        PassEndedError: `is_over` became true.
        ModelError: it could not be built; the message has the last line of the process.
    """
    with tempfile.TemporaryFile() as log, start_worker(MODULE, log, stdout=log) as worker:
        try:
            say(worker, json.dumps(to_plain(given)) + "\n")  # its stdin stays open, so that it ends when we do
            status = _wait(worker, is_over)
            if status:
                raise ModelError(f"the index of signals could not be built: {last_words(log)}")
        finally:
            worker.kill()
            hang_up(worker)


def _wait(worker: subprocess.Popen[str], is_over: IsOver) -> int:
    while not is_over():
        with suppress(subprocess.TimeoutExpired):
            return worker.wait(LOOK_EVERY_S)
    raise PassEndedError


def build(given: SignalPass) -> None:
    """Build the index of signals in this process.

    Raises:
        NodeError: the backend can't be opened, or a row is too long.
        AdapterRefusedError: the backend can't load the adapter.
        AttributionError: the adapter has no signals.
    """
    from ..attribution.signals.files import STATISTICS_ROWS_MAX, build_signals
    from ..attribution.signals.sketches import Sketches, seed_of
    from ..attribution.signals.traces import Trace, replayed_taps, trace_of

    backend = load_plug("backend", BACKEND)(
        BackendSettings(
            base_folder=given.base_folder,
            device=given.device,
            dtype="auto",
            threads=0,
            batch_max=1,
            context_max=given.tokens_max,
            quantisation=given.quantisation,
        )
    )
    source = AdapterSource(id=ADAPTER, folder=given.adapter_folder)
    backend.load_adapter(ADAPTER, backend.read_adapter(source))
    encode_rows = import_module(EXAMPLES_MODULE).encode_rows
    examples = dict(zip(given.rows, encode_rows(given.rows, Path(given.base_folder), given.tokens_max), strict=True))
    first = examples[given.rows[0]]
    taps = replayed_taps(backend, ADAPTER, first.prompt_ids, first.completion_ids)
    d_model = backend.unembedding(first.completion_ids[:1]).shape[1]
    seed = seed_of(artifact_digest(Path(given.adapter_folder)), [given.rows_root])
    sketches = Sketches(seed, d_model=d_model, is_residual=taps.is_residual)

    def trace(row: Row) -> Trace:
        example = examples[row]
        taps = replayed_taps(backend, ADAPTER, example.prompt_ids, example.completion_ids)
        return trace_of(taps, example.completion_ids, backend, sketches)

    limit = rows_within([len(example.completion_ids) for example in examples.values()], STATISTICS_TOKENS_MAX)
    build_signals(
        Path(given.folder),
        [(given.rows_root, given.rows)],
        sketches,
        trace,
        statistics_rows_max=max(1, min(limit, STATISTICS_ROWS_MAX)),
    )


def rows_within(lengths: Sequence[int], num_tokens: int) -> int:
    """The number of rows that have at most so many tokens together, whichever rows they are."""
    count = 0
    for length in sorted(lengths, reverse=True):
        num_tokens -= length
        if num_tokens < 0:
            break
        count += 1
    return count


def _read(text: str) -> SignalPass:
    fields = json.loads(text)
    return SignalPass(**{**fields, "rows": tuple(Row(**row) for row in fields["rows"])})


def end_with_parent() -> None:
    """End this process when its stdin closes, so that none writes an index that another process has begun again."""

    def wait() -> None:
        while os.read(STDIN, 1):  # unlike sys.stdin, it holds no lock that the end of the process waits for
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Build the index that standard input names; the last line of standard error says why it failed."""
    given = _read(sys.stdin.readline())
    end_with_parent()
    if given.yields:
        yield_to_others()
    try:
        build(given)
    except (NodeError, AdapterRefusedError, AttributionError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
