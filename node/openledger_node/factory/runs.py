"""The trainings of a home on its disk: a folder each, which any process may read while one works on it."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock, write_private
from .messages import rows_from_json
from .trainer import TrainingResult
from .training_run import TrainingRun, moved, newest, run_from_json

RUN_FILE, ROWS_FILE, HELD_OUT_FILE = "run.json", "rows.json", "held_out.json"
LEARNED_FILE, WISH_FILE, CHECKPOINT_FILE = "learned.json", "wish", "checkpoint.pt"
ADAPTER_FOLDER: Final = "adapter"
KEPT_MAX: Final = 50
"""Trainings that are remembered; older ones are forgotten, and their adapters stay."""

OwnerWish = Literal["pause", "keep", "stop", "yield"]
"""What is wanted of whoever trains: beside a trainer's, to leave nothing, or to end and be gone on with later."""


class Runs:
    """Reads and writes them."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._root = home.training / "runs"
        self._read: dict[Path, tuple[int, TrainingRun]] = {}  # each with when it was written

    def all(self) -> list[TrainingRun]:
        """Those there are, the newest first; one that is torn is left out."""
        found = []
        for file in self._root.glob(f"*/{RUN_FILE}"):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                found.append(self._look(file))
        return sorted(found, key=lambda run: -run.number)

    def _look(self, file: Path) -> TrainingRun:
        """Read one, anew only when it was written since."""
        written_ns = file.stat().st_mtime_ns
        known = self._read.get(file)
        if known is None or known[0] != written_ns:
            known = written_ns, run_from_json(json.loads(file.read_text(encoding="utf-8")))
            self._read[file] = known
        return known[1]

    def find(self, number: int | None = None) -> TrainingRun:
        """One of them; the one that matters most, where none is named.

        Raises:
            NodeError: there is none such.
        """
        runs = self.all()
        found = newest(runs) if number is None else next((run for run in runs if run.number == number), None)
        if found is None:
            what = "no training has been begun here" if number is None else f"no training here has number {number}"
            raise NodeError(f"{what}: `openledger-node factory status` shows those there are")
        return found

    def begin(self, run: TrainingRun, rows: tuple[Row, ...], held_out: tuple[Row, ...]) -> None:
        """Write down a training that nobody works on yet, its rows with it."""
        folder = self.folder(run.number)
        folder.mkdir(mode=0o700, parents=True)
        for name, content in ((ROWS_FILE, rows), (HELD_OUT_FILE, held_out)):
            write_private(folder / name, json.dumps(to_plain(content)), is_new=True)
        self.write(run)
        for old in self.all()[KEPT_MAX:]:
            if not old.is_live and old.state != "paused":
                shutil.rmtree(self.folder(old.number), ignore_errors=True)

    def write(self, run: TrainingRun) -> None:
        """Write how it is."""
        write_private(self.folder(run.number) / RUN_FILE, json.dumps(to_plain(run)), is_new=False)

    def drop(self, run: TrainingRun, *, now_ns: int) -> None:
        """End a training that nobody works on; nothing of it is kept but how it was."""
        self.write(moved(run, "stop", now_ns=now_ns))
        self.clear_work(run.number)

    def order_evaluation(self, run: TrainingRun, rows: int, *, now_ns: int) -> TrainingRun:
        """Write down that its adapter is to be measured on so many held-out rows."""
        ordered = moved(run, "evaluate", now_ns=now_ns, evaluated_rows=rows)
        self.write(ordered)
        return ordered

    def fail(self, number: int, why: str, *, now_ns: int) -> None:
        """Write down that nobody could work on it."""
        run = self.find(number)
        if run.is_live:
            self.write(moved(run, "fail", now_ns=now_ns, error=why))

    def rows(self, number: int, name: str = ROWS_FILE) -> tuple[Row, ...]:
        """The rows that it learns, or those that are held out.

        Raises:
            NodeError: they are not here any more.
        """
        file = self.folder(number) / name
        try:
            return rows_from_json(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise NodeError(f"the rows of training {number} can't be read from {file}: begin another one") from error

    def next_number(self) -> int:
        """What the next one is called."""
        taken = [int(folder.name) for folder in self._root.glob("[0-9]*") if folder.name.isdecimal()]
        return max(taken, default=0) + 1

    def folder(self, number: int) -> Path:
        """All that is kept of one."""
        return self._root / str(number)

    def clear_work(self, number: int) -> None:
        """Remove what only going on needs; how it was, and the rows that it is measured on, stay."""
        folder = self.folder(number)
        shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
        for name in (ROWS_FILE, LEARNED_FILE, WISH_FILE, CHECKPOINT_FILE):
            (folder / name).unlink(missing_ok=True)

    # ---- words between who wants and who works

    def wish(self, number: int, wish: OwnerWish) -> None:
        """Say what is wanted of whoever works on it."""
        write_private(self.folder(number) / WISH_FILE, wish, is_new=False)

    def wished(self, number: int) -> OwnerWish | None:
        """What is wanted."""
        try:
            text = (self.folder(number) / WISH_FILE).read_text()
        except OSError:
            return None
        return next((wish for wish in get_args(OwnerWish) if wish == text), None)

    def forget_wish(self, number: int) -> None:
        """It was done, or is not wanted any more."""
        (self.folder(number) / WISH_FILE).unlink(missing_ok=True)

    # ---- what was learned, until it is on the shelf

    def keep_learned(self, number: int, result: TrainingResult) -> None:
        """Remember that the adapter is whole, so that nobody learns it again."""
        write_private(self.folder(number) / LEARNED_FILE, json.dumps(to_plain(result)), is_new=False)

    def learned(self, number: int) -> TrainingResult | None:
        """What came of the training, if it came to an end."""
        try:
            return TrainingResult(**json.loads((self.folder(number) / LEARNED_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the one that trains on this home.

        Raises:
            ConfigError: another process does.
        """
        self._home.training.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._home.training / "lock").open("a") as lock:
            try:
                take_lock(lock)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another training runs on {self._home.root}: wait until it has ended, "
                    "or end it by `openledger-node factory stop`"
                ) from error
            yield
