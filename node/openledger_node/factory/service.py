"""The training service: trainings of this node, their progress, and the orders that change them.

Its state is in files, so the answers are the same whether a daemon trains, another process, or none. The process that
trains does so in one thread.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from openledger_protocol.primitives import Address

from ..config import Config
from ..errors import ConfigError, ModelError, NodeError
from ..home import Home, is_training
from ..keystore import find_wallet
from ..models.bases import find_base
from ..network_file import current_network
from ..node_events import EventKind, note_event
from .child import ChildTrainer
from .evaluation import ROWS_MAX, ROWS_USUAL
from .forecast import Forecaster, TrainingRoom
from .job import move
from .order import gather, index_builder, order_from
from .preview import Tell
from .runner import Runner, TrainingParts, check_free
from .runs import HELD_OUT_FILE, LockedError, Runs
from .trainer import TrainingProgress
from .training_run import Stage, TrainingRun, newest
from .views import choices_to_plain, run_to_plain, runs_to_plain

END_WITHIN_S: Final = 20.0
"""Time for a training to write its checkpoint when the node stops."""

TRIAL_LOOK_S: Final = 1.0
"""Pause of a training that waits for a trial, which takes a minute or so."""

Report = Callable[[TrainingProgress], None]
ReportStage = Callable[[Stage], None]


class TrainingService:
    """Serves the routes and commands of the factory. Every method blocks."""

    def __init__(self, home: Home, config: Config, room: TrainingRoom | None = None, *, yields: bool = False) -> None:
        """`yields` lets trainings take only what other processes leave, because this process also serves."""
        self._home = home
        self._config = config
        self._runs = Runs(home)
        self._thread: threading.Thread | None = None
        self._started: TrainingRun | None = None  # the training of this process, as it was when its thread started
        self._yields = yields
        self._ordering = threading.Lock()
        self._is_closing = threading.Event()
        self._forecaster = Forecaster(
            home, config, room or TrainingRoom(lambda: config.limits, device=config.inference.device)
        )

    # ---- Queries

    def show(self, number: int | None = None) -> dict[str, Any]:
        """Return all trainings, one of them in full, and the choices for a new one.

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
        """Return one training in full.

        Raises:
            NodeError: there is no such training.
        """
        run = self._runs.find(number)
        return run_to_plain(run, who=self._who(run))

    def preview(self, wanted: Mapping[str, Any], offset: int, tell: Tell = lambda *_: None) -> dict[str, Any]:
        """Return three rows as the model sees them, and the counts of all rows.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        return self._forecaster.preview(order_from(wanted), offset, tell)

    def estimate(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Estimate the memory and time of an order.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        return self._forecaster.estimate(order_from(wanted))

    # ---- Orders

    def begin(self, wanted: Mapping[str, Any]) -> TrainingRun:
        """Store a new training; no process works on it yet.

        Raises:
            ConfigError: another training is open, or a value is out of bounds.
            NodeError: the rows or the base can't be used.
        """
        order = order_from(wanted)
        with self._ordering:
            check_free(self._runs, is_worked_on=self._is_worked_on())
            self._check_nobody_trains()
            found = gather(self._home, self._config, order, keep=True)
            chosen = self._forecaster.choose_format(order.quantisation, found)
            now_ns = time.time_ns()
            run = TrainingRun(
                number=self._runs.next_number(),
                state="waiting",
                job=replace(found.job, quantisation=chosen.quantisation),
                format_why=chosen.why,
                trainer=found.trainer,
                base=found.base.name,
                datanet=found.datanet,
                num_rows=len(found.rows),
                num_held_out=len(found.held_out),
                num_dropped=len(found.dropped),
                evaluated_rows=found.evaluated_rows,
                has_signals=order.signals,
                started_ns=now_ns,
                changed_ns=now_ns,
            )
            self._runs.begin(run, found.rows, found.held_out)
        return run

    def train(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Start a training in a thread.

        Raises:
            NodeError: the training can't start.
        """
        run = self.begin(wanted)
        note_event(EventKind.TRAINING_BEGUN, f"training {run.number}, {run.job.name}")
        self._start(run.number)
        return self.run(run.number)

    def carry_out(
        self, number: int, report: Report = lambda _: None, report_stage: ReportStage = lambda _: None
    ) -> TrainingRun:
        """Work on a training in this thread until it ends or pauses.

        Raises:
            LockedError: another process trains or measures a trial.
            NodeError: the base is gone.
        """
        run = self._runs.find(number)
        base = find_base(self._home, run.base)
        parts = TrainingParts(
            base=base,
            trainer=ChildTrainer(run.trainer, yields=self._yields),
            owner=self._owner(),
            build_index=index_builder(
                base,
                run.datanet,
                run.job if run.has_signals else None,
                yields=self._yields,
                is_over=lambda: self._runs.wished(number) in ("stop", "yield"),
            ),
            report=report,
            report_stage=report_stage,
        )
        run = Runner(self._home, number, parts).carry_out()
        kind = EventKind.TRAINING_FAILED if run.state == "failed" else EventKind.TRAINING_ENDED
        note_event(kind, f"training {number} is {run.state}: {run.adapter or run.error or run.job.name}")
        return run

    def _owner(self) -> Address | None:
        """The wallet on the chosen network. A training must not fail because there is none: publishing names one."""
        with suppress(NodeError):
            network = current_network(self._home, self._config.node.network)
            return find_wallet(self._home, network.network) if network else None
        return None

    def pause(self) -> dict[str, Any]:
        """Pause the training: it writes a checkpoint and frees its memory.

        Raises:
            ConfigError: no training is running.
        """
        run = self._runs.find()
        move(run.state, "pause")
        self._check_somebody_trains(run)
        self._runs.wish(run.number, "pause")
        return self.run(run.number)

    def resume(self) -> dict[str, Any]:
        """Resume the training that was paused or interrupted.

        Raises:
            ConfigError: there is no such training, or another process trains.
        """
        run = self.resumable()
        self._start(run.number)
        return self.run(run.number)

    def resumable(self) -> TrainingRun:
        """Find the training that can be resumed.

        Raises:
            ConfigError: there is no such training, or another process trains.
        """
        run = self._runs.find()
        if not run.is_live:
            move(run.state, "resume")
        self._check_nobody_trains()
        self._runs.forget_wish(run.number)
        return run

    def stop(self, *, keep: bool) -> dict[str, Any]:
        """End a training; with `keep`, add what it has learned so far to the library.

        Raises:
            ConfigError: no training is open.
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
        """Mark an interrupted training so that `carry_out` ends it and keeps what it has learned.

        Raises:
            ConfigError: no training is open, or a process works on it.
        """
        run = self._runs.find()
        move(run.state, "stop")
        self._check_nobody_trains()
        self._runs.wish(run.number, "keep")
        return run

    def evaluate(self, number: int | None, rows: int | None) -> dict[str, Any]:
        """Evaluate base and adapter of a training on held-out rows, in a thread.

        Raises:
            NodeError: there is no such adapter, or something is trained just now.
        """
        run = self.evaluable(number, rows)
        self._start(run.number)
        return self.run(run.number)

    def evaluable(self, number: int | None, rows: int | None) -> TrainingRun:
        """Store that a training's adapter is to be evaluated.

        Raises:
            NodeError: there is no such adapter, or something is trained just now.
        """
        run = self._runs.find(number)
        if run.adapter is None:
            raise ConfigError(f"training {run.number} is {run.state} and has no adapter to evaluate")
        wanted = ROWS_USUAL if rows is None else rows
        if not 1 <= wanted <= ROWS_MAX:
            raise ConfigError(f"the number of rows to evaluate must be from 1 to {ROWS_MAX}")
        self._check_nobody_trains()
        held_out = len(self._runs.rows(run.number, HELD_OUT_FILE))
        return self._runs.order_evaluation(run, min(wanted, held_out), now_ns=time.time_ns())

    def adapter_of(self, number: int | None) -> str:
        """Return the full name of a training's adapter.

        Raises:
            NodeError: the training has no adapter.
        """
        run = self._runs.find(number)
        if run.adapter is None:
            raise NodeError(f"training {run.number} is {run.state} and has no adapter to publish")
        return run.adapter

    # ---- Start and end of the daemon

    def go_on(self) -> int | None:
        """Continue the training that an earlier process left, after a trial that may run; return its number.

        If that process did not live to read what its owner had ordered, this one obeys it.
        """
        run = newest(self._runs.all())
        if run is None or not run.is_live or self._runs.is_held_by(run.number):
            return None
        if self._runs.wished(run.number) == "yield":
            self._runs.forget_wish(run.number)
        self._begin_work(run.number)
        return run.number

    def close(self) -> None:
        """Stop the training so that the next process continues it, with a checkpoint if there is time."""
        self._is_closing.set()
        thread, started = self._thread, self._started
        if thread and thread.is_alive() and started:
            self._runs.wish(started.number, "yield")
            thread.join(END_WITHIN_S)

    def _start(self, number: int) -> None:
        self._check_nobody_trains()
        self._begin_work(number)

    def _begin_work(self, number: int) -> None:
        self._started = self._runs.find(number)
        self._thread = threading.Thread(target=self._work, args=(number,), name="training", daemon=True)
        self._thread.start()

    def _work(self, number: int) -> None:
        while True:
            try:
                self.carry_out(number)
            except LockedError:  # another process was first, with this training or with a trial
                if self._runs.is_held_by(number) or self._is_closing.wait(TRIAL_LOOK_S):
                    return
                run = self._runs.find(number)
                if run.is_live or run.state == "paused":
                    continue
            except (ConfigError, ModelError) as error:  # the base is gone
                self._runs.fail(number, str(error), now_ns=time.time_ns())
            return

    def _who(self, run: TrainingRun | None) -> str | None:
        """Return `here` or `elsewhere` for the process that works on a training, or None."""
        if run is None or not (run.is_live or run.state == "paused"):
            return None
        if self._works_here() and self._started and self._started.number == run.number:
            return "here"
        return "elsewhere" if self._runs.is_held_by(run.number) else None

    def _is_worked_on(self) -> bool:
        return self._works_here() or is_training(self._home)

    def _works_here(self) -> bool:
        """Return True while the thread works. If its training has ended or paused, it only clears up: wait for it."""
        thread, started = self._thread, self._started
        if thread is None or started is None or not thread.is_alive():
            return False
        run = self._runs.find(started.number)
        if not run.is_live and run != started:
            thread.join(END_WITHIN_S)
        return thread.is_alive()

    def _check_nobody_trains(self) -> None:
        if self._is_worked_on():
            raise ConfigError(
                f"another training is running in {self._home.root}, or a trial of `openledger-node datanet "
                "check`: wait until it ends, or end a training with `openledger-node factory stop`"
            )

    def _check_somebody_trains(self, run: TrainingRun) -> None:
        if self._who(run) is None:
            raise ConfigError(
                f"training {run.number} is not running, because its process has ended: "
                "continue it with `openledger-node factory resume`"
            )
