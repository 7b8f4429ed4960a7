"""Trainings on disk, one folder each. Any process can read them while one process works on a training."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

from openledger_protocol.adapter import PublicProbe
from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import AdapterId

from ..errors import ConfigError, NodeError
from ..home import Home, is_locked, take_lock, write_private
from ..models.adapters import Adapter
from .evaluation import Evaluated
from .messages import rows_from_json
from .trainer import TrainingResult
from .training_run import TrainingRun, moved, newest, run_from_json

RUN_FILE, ROWS_FILE, HELD_OUT_FILE = "run.json", "rows.json", "held_out.json"
LEARNED_FILE, WISH_FILE, CHECKPOINT_FILE = "learned.json", "wish", "checkpoint.pt"
EVALUATED_FILE: Final = "evaluated.json"
LOCK_FILE: Final = "lock"
"""Of all trainings and trials, of which one runs at a time; and in a training's folder, while it is the one."""
ADAPTER_FOLDER: Final = "adapter"
KEPT_MAX: Final = 50
"""Most trainings to keep. Older ones are deleted; their adapters stay."""

OwnerWish = Literal["pause", "keep", "stop", "yield"]
"""Request to the process that trains: those of `Wish`, to discard everything, or to end so that another continues."""


class LockedError(ConfigError):
    """Another process trains, or measures a trial."""


class Runs:
    """Reads and writes the trainings of a data directory."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._root = home.training / "runs"
        self._read: dict[Path, tuple[int, TrainingRun]] = {}  # each with its modification time

    def all(self) -> list[TrainingRun]:
        """List the trainings, the newest first; damaged ones are left out."""
        found = []
        for file in self._root.glob(f"*/{RUN_FILE}"):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                found.append(self._look(file))
        return sorted(found, key=lambda run: -run.number)

    def _look(self, file: Path) -> TrainingRun:
        """Read one training; a cached one is read again only if its file has changed."""
        written_ns = file.stat().st_mtime_ns
        known = self._read.get(file)
        if known is None or known[0] != written_ns:
            known = written_ns, run_from_json(json.loads(file.read_text(encoding="utf-8")))
            self._read[file] = known
        return known[1]

    def find(self, number: int | None = None) -> TrainingRun:
        """Find a training by number; without a number, the open one or else the newest.

        Raises:
            NodeError: there is no such training.
        """
        runs = self.all()
        found = newest(runs) if number is None else next((run for run in runs if run.number == number), None)
        if found is None:
            what = "there is no training yet" if number is None else f"no training has number {number}"
            raise NodeError(f"{what}: `openledger-node factory status` lists them")
        return found

    def begin(self, run: TrainingRun, rows: tuple[Row, ...], held_out: tuple[Row, ...]) -> None:
        """Store a new training and its rows; no process works on it yet."""
        folder = self.folder(run.number)
        folder.mkdir(mode=0o700, parents=True)
        for name, content in ((ROWS_FILE, rows), (HELD_OUT_FILE, held_out)):
            write_private(folder / name, json.dumps(to_plain(content)), is_new=True)
        self.write(run)
        closed = [each for each in self.all() if not each.is_live and each.state != "paused"]
        for each in closed:  # a kill may have come between its end and the removal of its files
            self.clear_work(each.number)
        for old in self.all()[KEPT_MAX:]:
            if old in closed:
                shutil.rmtree(self.folder(old.number), ignore_errors=True)

    def write(self, run: TrainingRun) -> None:
        """Store the state of a training."""
        write_private(self.folder(run.number) / RUN_FILE, json.dumps(to_plain(run)), is_new=False)

    def drop(self, run: TrainingRun, *, now_ns: int) -> None:
        """Stop a training that no process works on; only its record is kept."""
        self.write(moved(run, "stop", now_ns=now_ns))
        self.clear_work(run.number)

    def rename_adapter(self, adapter_id: AdapterId, adapter: Adapter) -> None:
        """Let the trainings that made an adapter name the one that replaces it in the library."""
        for run in self.all():
            if run.adapter_id == adapter_id:
                self.write(replace(run, adapter=adapter.full_name, adapter_id=adapter.id))

    def order_evaluation(self, run: TrainingRun, rows: int, *, now_ns: int) -> TrainingRun:
        """Store that the adapter is to be evaluated on `rows` held-out rows."""
        ordered = moved(run, "evaluate", now_ns=now_ns, evaluated_rows=rows)
        self.write(ordered)
        return ordered

    def fail(self, number: int, why: str, *, now_ns: int) -> None:
        """Store that the training failed."""
        run = self.find(number)
        if run.is_live:
            self.write(moved(run, "fail", now_ns=now_ns, error=why))

    def rows(self, number: int, name: str = ROWS_FILE) -> tuple[Row, ...]:
        """Read the training rows, or with another `name` the held-out rows.

        Raises:
            NodeError: the rows can't be read.
        """
        file = self.folder(number) / name
        try:
            return rows_from_json(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise NodeError(
                f"the rows of training {number} can't be read from {file}: start a new training"
            ) from error

    def next_number(self) -> int:
        """Return the number of the next training."""
        taken = [int(folder.name) for folder in self._root.glob("[0-9]*") if folder.name.isdecimal()]
        return max(taken, default=0) + 1

    def folder(self, number: int) -> Path:
        """Return the folder of a training."""
        return self._root / str(number)

    def clear_work(self, number: int) -> None:
        """Delete the working files of a training; its record and its held-out rows stay."""
        folder = self.folder(number)
        shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
        for name in (ROWS_FILE, LEARNED_FILE, EVALUATED_FILE, WISH_FILE, CHECKPOINT_FILE, LOCK_FILE):
            (folder / name).unlink(missing_ok=True)

    # ---- Requests of the owner to the process that trains

    def wish(self, number: int, wish: OwnerWish) -> None:
        """Store a request for the process that trains."""
        write_private(self.folder(number) / WISH_FILE, wish, is_new=False)

    def wished(self, number: int) -> OwnerWish | None:
        """Return the stored request."""
        try:
            text = (self.folder(number) / WISH_FILE).read_text()
        except OSError:
            return None
        return next((wish for wish in get_args(OwnerWish) if wish == text), None)

    def forget_wish(self, number: int) -> None:
        """Delete the stored request."""
        (self.folder(number) / WISH_FILE).unlink(missing_ok=True)

    # ---- The result of a training, until the adapter is in the library

    def keep_learned(self, number: int, result: TrainingResult) -> None:
        """Store that the adapter is complete, so that it is not trained again."""
        write_private(self.folder(number) / LEARNED_FILE, json.dumps(to_plain(result)), is_new=False)

    def learned(self, number: int) -> TrainingResult | None:
        """Return the result if the training itself is complete."""
        try:
            return TrainingResult(**json.loads((self.folder(number) / LEARNED_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def keep_evaluated(self, number: int, evaluated: Evaluated) -> None:
        """Store an evaluation, so that the manifest is the same if it has to be written again."""
        write_private(self.folder(number) / EVALUATED_FILE, json.dumps(to_plain(evaluated)), is_new=False)

    def evaluated(self, number: int) -> Evaluated | None:
        """Return the stored evaluation of a training whose adapter is not in the library yet."""
        try:
            fields = json.loads((self.folder(number) / EVALUATED_FILE).read_text(encoding="utf-8"))
            probes = tuple(PublicProbe(**each) for each in fields["probes"])
            return Evaluated(figures=fields["figures"], probes=probes, samples=tuple(fields["samples"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    # ---- The lock of the one process that trains or measures

    @contextlib.contextmanager
    def hold(self, number: int | None = None) -> Iterator[None]:
        """Hold the lock of the one running training; without a number, for a trial.

        Raises:
            LockedError: another process trains or measures.
        """
        self._home.training.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((self._home.training / LOCK_FILE).open("a"))
            try:
                take_lock(lock)
            except BlockingIOError as error:
                raise LockedError(
                    f"another training is running in {self._home.root}, or a trial of `openledger-node datanet "
                    "check`: wait until it ends, or end a training with `openledger-node factory stop`"
                ) from error
            if number is not None:
                take_lock(stack.enter_context((self.folder(number) / LOCK_FILE).open("a")))
            yield

    def is_held_by(self, number: int) -> bool:
        """Return True while a process works on this training. A trial or another training may hold the lock, too.

        The training's own lock answers in one step. A number inside the common lock would be the last holder's for a
        moment.
        """
        return is_locked(self.folder(number) / LOCK_FILE)
