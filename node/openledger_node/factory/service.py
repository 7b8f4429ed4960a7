"""The factory's desk: what is trained on this home, by whom, how far it is, and the orders that change it.

All of it lies in files, so it answers the same whether a daemon trains, another process does, or nobody; whoever is
told to train does it in one thread.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ..config import Config
from ..errors import ConfigError, ModelError, NodeError
from ..home import Home, is_training
from ..models.bases import find_base
from .child import ChildTrainer
from .evaluation import ROWS_MAX, ROWS_USUAL
from .forecast import Forecaster, TrainingRoom
from .job import move
from .order import gather, index_builder, order_from
from .runner import Runner, TrainingParts, check_free
from .runs import HELD_OUT_FILE, Runs
from .trainer import TrainingProgress
from .training_run import TrainingRun, newest
from .views import choices_to_plain, run_to_plain, runs_to_plain

END_WITHIN_S: Final = 20.0
"""So long a training gets to write its checkpoint when the node ends."""

Report = Callable[[TrainingProgress], None]


class TrainingService:
    """Answers the factory's routes and verbs; every method blocks."""

    def __init__(self, home: Home, config: Config, room: TrainingRoom | None = None) -> None:
        self._home = home
        self._config = config
        self._runs = Runs(home)
        self._thread: threading.Thread | None = None
        self._number: int | None = None  # that this process trains
        self._ordering = threading.Lock()
        self._forecaster = Forecaster(
            home, config, room or TrainingRoom(lambda: config.limits, device=config.inference.device)
        )

    # ---- what there is

    def show(self, number: int | None = None) -> dict[str, Any]:
        """The trainings of this home, one of them in full, and what a new one may be made of.

        Raises:
            NodeError: there is no training of this number.
        """
        runs = self._runs.all()
        run = newest(runs) if number is None else self._runs.find(number)
        taught = next((each for each in runs if each.adapter), None)
        return {
            "is_training": is_training(self._home),
            "run": run_to_plain(run, who=self._who(run)) if run else None,
            "last_taught": run_to_plain(replace(taught, history=()), who=self._who(taught)) if taught else None,
            "runs": runs_to_plain(runs),
            **choices_to_plain(self._home, self._config),
        }

    def run(self, number: int | None = None) -> dict[str, Any]:
        """One training in full.

        Raises:
            NodeError: there is none such.
        """
        run = self._runs.find(number)
        return run_to_plain(run, who=self._who(run))

    def preview(self, wanted: Mapping[str, Any], offset: int) -> dict[str, Any]:
        """Three rows as the model sees them, and how many there are.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        return self._forecaster.preview(order_from(wanted), offset)

    def estimate(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What an order would take of memory and time.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        return self._forecaster.estimate(order_from(wanted))

    # ---- what is wanted

    def begin(self, wanted: Mapping[str, Any]) -> TrainingRun:
        """Write a training down; nobody works on it yet.

        Raises:
            ConfigError: another one is open, or the order is out of bounds.
            NodeError: its rows or its base are not as they must be.
        """
        order = order_from(wanted)
        with self._ordering:
            check_free(self._runs, is_worked_on=self._is_worked_on())
            self._check_nobody_trains()
            found = gather(self._home, self._config, order, keep=True)
            now_ns = time.time_ns()
            run = TrainingRun(
                number=self._runs.next_number(),
                state="waiting",
                job=found.job,
                trainer=found.trainer,
                base=found.base.name,
                datanet=found.datanet,
                num_rows=len(found.rows),
                num_held_out=len(found.held_out),
                num_dropped=len(found.dropped),
                evaluated_rows=found.evaluated_rows,
                started_ns=now_ns,
                changed_ns=now_ns,
            )
            self._runs.begin(run, found.rows, found.held_out)
        return run

    def train(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a training, and work on it in a thread.

        Raises:
            NodeError: it can't be begun.
        """
        run = self.begin(wanted)
        self._start(run.number)
        return self.run(run.number)

    def carry_out(self, number: int, report: Report = lambda _: None) -> TrainingRun:
        """Work on a training in this thread, until it ends or waits.

        Raises:
            NodeError: another process trains on this home, or its base is gone.
        """
        run = self._runs.find(number)
        base = find_base(self._home, run.base)
        parts = TrainingParts(
            base=base,
            trainer=ChildTrainer(run.trainer),
            build_index=index_builder(base, run.datanet),
            report=report,
        )
        return Runner(self._home, number, parts).carry_out()

    def pause(self) -> dict[str, Any]:
        """Have the training written down and its memory freed.

        Raises:
            ConfigError: none is being trained.
        """
        run = self._runs.find()
        move(run.state, "pause")
        self._check_somebody_trains(run)
        self._runs.wish(run.number, "pause")
        return self.run(run.number)

    def resume(self) -> dict[str, Any]:
        """Go on with what is paused, or was cut off.

        Raises:
            ConfigError: nothing is, or another process trains.
        """
        run = self.resumable()
        self._start(run.number)
        return self.run(run.number)

    def resumable(self) -> TrainingRun:
        """What can be gone on with.

        Raises:
            ConfigError: nothing can, or another process trains.
        """
        run = self._runs.find()
        if not run.is_live:
            move(run.state, "resume")
        self._check_nobody_trains()
        self._runs.forget_wish(run.number)
        return run

    def stop(self, *, keep: bool) -> dict[str, Any]:
        """End a training; `keep` puts what it has learned so far on the shelf.

        Raises:
            ConfigError: none is open.
        """
        run = self._runs.find()
        move(run.state, "stop")
        if self._who(run) is not None:
            self._runs.wish(run.number, "keep" if keep else "stop")
        elif keep:
            self._start(self.keep_left().number)
        else:
            self._runs.drop(run, now_ns=time.time_ns())
        return self.run(run.number)

    def keep_left(self) -> TrainingRun:
        """Have what nobody works on end with what it has learned, once it is carried out.

        Raises:
            ConfigError: none is open, or somebody works on it.
        """
        run = self._runs.find()
        move(run.state, "stop")
        self._check_nobody_trains()
        self._runs.wish(run.number, "keep")
        return run

    def evaluate(self, number: int | None, rows: int | None) -> dict[str, Any]:
        """Have base and adapter of a training answer held-out rows, in a thread.

        Raises:
            NodeError: there is no such adapter, or something is trained just now.
        """
        run = self.evaluable(number, rows)
        self._start(run.number)
        return self.run(run.number)

    def evaluable(self, number: int | None, rows: int | None) -> TrainingRun:
        """Write down that a training's adapter is to be evaluated.

        Raises:
            NodeError: there is no such adapter, or something is trained just now.
        """
        run = self._runs.find(number)
        if run.adapter is None:
            raise ConfigError(f"training {run.number} is {run.state}: it left no adapter that could be evaluated")
        wanted = ROWS_USUAL if rows is None else rows
        if not 1 <= wanted <= ROWS_MAX:
            raise ConfigError(f"rows to evaluate on are from 1 to {ROWS_MAX}")
        self._check_nobody_trains()
        held_out = len(self._runs.rows(run.number, HELD_OUT_FILE))
        return self._runs.order_evaluation(run, min(wanted, held_out), now_ns=time.time_ns())

    def adapter_of(self, number: int | None) -> str:
        """The full name of what a training has put on the shelf.

        Raises:
            NodeError: there is none.
        """
        run = self._runs.find(number)
        if run.adapter is None:
            raise NodeError(f"training {run.number} is {run.state}: it has no adapter to publish")
        return run.adapter

    # ---- the daemon's

    def go_on(self) -> int | None:
        """Take up what a process before this one left; returns which."""
        run = newest(self._runs.all())
        if run is None or not run.is_live or is_training(self._home):
            return None
        self._runs.forget_wish(run.number)
        self._start(run.number)
        return run.number

    def close(self) -> None:
        """Leave the training to the next process, with a checkpoint if there is time for one."""
        thread, number = self._thread, self._number
        if thread and thread.is_alive() and number is not None:
            self._runs.wish(number, "yield")
            thread.join(END_WITHIN_S)

    def _start(self, number: int) -> None:
        self._check_nobody_trains()
        self._number = number
        self._thread = threading.Thread(target=self._work, args=(number,), name="training", daemon=True)
        self._thread.start()

    def _work(self, number: int) -> None:
        try:
            self.carry_out(number)
        except (ConfigError, ModelError) as error:  # another process was faster, or the base is gone
            self._runs.fail(number, str(error), now_ns=time.time_ns())

    def _who(self, run: TrainingRun | None) -> str | None:
        """Who works on a training: `here`, `elsewhere`, or None: nobody."""
        if run is None or not (run.is_live or run.state == "paused"):
            return None
        if self._thread and self._thread.is_alive() and self._number == run.number:
            return "here"
        return "elsewhere" if is_training(self._home) else None

    def _is_worked_on(self) -> bool:
        return bool(self._thread and self._thread.is_alive()) or is_training(self._home)

    def _check_nobody_trains(self) -> None:
        if self._is_worked_on():
            raise ConfigError(
                f"another training runs on {self._home.root}: wait until it has ended, "
                "or end it by `openledger-node factory stop`"
            )

    def _check_somebody_trains(self, run: TrainingRun) -> None:
        if self._who(run) is None:
            raise ConfigError(
                f"nobody works on training {run.number}: the process that trained it has ended; "
                "`openledger-node factory resume` goes on with it"
            )
