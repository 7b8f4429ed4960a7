"""The choice of rows for a step: rules that hold in every step of every run, and small runs that show each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow, Drawn
from openledger_node.engine.fair_queue import WEIGHT_IN, WEIGHT_OUT, FairQueue, TokenCounters
from openledger_node.engine.scheduler import Scheduler
from openledger_node.engine.sequence import PASSED_BY_MAX, Sequence
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

STEPS_MAX = 2_000
PAYS_EVERY = 3
TOKEN = 7


def sequence(
    name: str,
    num_prompt: int = 2,
    *,
    max_tokens: int = 1,
    adapter: str | None = None,
    num_resumed: int = 0,
    payer: str = "",
    first: int = 0,
    num_allowed: int | None = None,
) -> Sequence:
    source = AdapterSource(id=AdapterId(adapter), folder="") if adapter else None
    return Sequence(
        sequence_id=name,
        prompt_ids=tuple(range(first, first + num_prompt)),
        sampling=SamplingParams(max_tokens=max_tokens, seed=1),
        adapter=source,
        payer=payer,
        output_ids=[TOKEN] * num_resumed,
        num_allowed=num_allowed,
    )


def scheduler(*waiting: Sequence, batch_max: int = 8, prefill_tokens_max: int = 8, num_blocks: int = 0) -> Scheduler:
    made = Scheduler(batch_max=batch_max, prefill_tokens_max=prefill_tokens_max, num_blocks=num_blocks)
    for one in waiting:
        made.add(one)
    return made


def anybody(_: Sequence) -> bool:
    return True


def joined(running: Scheduler, can_join: Callable[[Sequence], bool] = lambda _: True) -> list[str]:
    return [one.sequence_id for one in running.admit(can_join)]


def step(running: Scheduler) -> tuple[BatchRow, ...]:
    running.park()
    rows = running.schedule().rows
    running.advance(rows, drawn_for(rows))
    return rows


def drawn_for(rows: Iterable[BatchRow]) -> dict[str, Drawn]:
    return {row.sequence_id: Drawn(token=TOKEN) for row in rows if row.draw}


def test_a_sequence_whose_adapter_has_no_room_blocks_nobody_and_keeps_its_turn() -> None:
    running = scheduler(sequence("a", 1, adapter="big"), sequence("b", 1), sequence("c", 1), batch_max=2)
    assert joined(running, lambda one: one.adapter is None) == ["b", "c"]
    running.add(sequence("d", 1))
    running.remove("b")
    assert joined(running) == ["a"]


@pytest.mark.parametrize("num_passed_by", [0, PASSED_BY_MAX])
def test_one_that_is_refused_when_its_turn_comes_holds_up_nobody_behind_it(num_passed_by: int) -> None:
    bad = sequence("bad", 1, adapter="0xa")
    bad.num_passed_by = num_passed_by
    running = scheduler(bad, sequence("late", 1))

    def refuse(one: Sequence) -> bool:
        if one is bad:
            running.remove("bad")
        return one is not bad

    assert joined(running, refuse) == ["late"]
    assert running.num_waiting == 0


def test_nobody_joins_who_would_take_the_next_block_of_one_that_runs() -> None:
    running = scheduler(sequence("a", 16, max_tokens=9), sequence("b", 16), prefill_tokens_max=64, num_blocks=2)
    assert joined(running) == ["a"]
    running.remove("a")
    assert joined(running) == ["b"]


def test_preemption_keeps_the_answer_and_the_turn() -> None:
    old, young = sequence("old", 10, max_tokens=60), sequence("young", 10, max_tokens=60, first=50)
    running = scheduler(old, young, prefill_tokens_max=64, num_blocks=5)
    running.admit(anybody)
    preempted: list[str] = []
    while not preempted:
        plan = running.schedule()
        preempted = [one.sequence_id for one in plan.preempted]
        running.advance(plan.rows, drawn_for(plan.rows))
    assert preempted == ["young"]
    assert [one.sequence_id for one in running.running] == ["old"]
    assert (len(young.output_ids), young.num_cached, running.num_preempted) == (23, 0, 1)
    running.add(sequence("late", 1))
    running.remove("old")
    assert joined(running) == ["young", "late"]


def test_blocks_of_a_sequence_that_overflowed_are_not_reused() -> None:
    running = scheduler(sequence("a", 40), prefill_tokens_max=64, num_blocks=8)
    running.admit(anybody)
    step(running)
    running.remove("a", is_tainted=True)
    again = sequence("b", 40)
    running.add(again)
    running.admit(anybody)
    assert again.num_cached == 0


def test_penalties_alone_are_given_the_texts() -> None:
    plain, strict = sequence("plain", 2), sequence("strict", 2, num_resumed=1, max_tokens=3)
    strict.sampling = replace(strict.sampling, presence_penalty=0.5)
    running = scheduler(plain, strict)
    running.admit(anybody)
    one, two = (row.draw for row in running.schedule().rows)
    assert (one.position, one.prompt_ids, one.output_ids) == (2, (), ())
    assert (two.position, two.prompt_ids, two.output_ids) == (3, (0, 1), [TOKEN])


PLANS = st.fixed_dictionaries(
    {
        "arrives": st.integers(0, 12),  # before this step
        "num_prompt": st.integers(1, 30),
        "max_tokens": st.integers(1, 6),
        "adapter": st.sampled_from([None, "a", "b", "c"]),
        "num_resumed": st.integers(0, 3),
        "leaves": st.none() | st.integers(0, 30),  # cancelled before this step
        "payer": st.sampled_from(["", "p", "q"]),
        "first": st.sampled_from([0, 100]),  # of its prompt: those of the same may share blocks
        "pays": st.none()
        | st.integers(1, 3),  # tokens that its allowance grows by now and then; None: it has no limit
    }
).map(lambda fields: SimpleNamespace(**fields))
"""Sequences of a random run."""


@dataclass
class Run:
    """A scheduler with a device that never fails, checked in every step."""

    scheduler: Scheduler
    batch_max: int
    prefill_tokens_max: int
    adapters_max: int
    num_seen: dict[str, int] = field(default_factory=dict)  # tokens of a sequence that the device holds
    memory: dict[int, dict[int, tuple[object, ...]]] = field(default_factory=dict)  # block → place → text up to there
    finished: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def can_join(self, one: Sequence) -> bool:
        used = {other.adapter_id for other in self.scheduler.running if other.adapter_id}
        return one.adapter_id is None or len(used | {one.adapter_id}) <= self.adapters_max

    def remove(self, name: str) -> None:
        if name not in self.finished and self.scheduler.remove(name):
            self.removed.add(name)

    def step(self) -> None:
        places = len(self.scheduler.running)
        places -= len(parked := self.scheduler.park())
        assert len(self.scheduler.running) == places
        assert all(one.num_allowed == len(one.output_ids) for one in parked)
        for one in self.scheduler.admit(self.can_join):
            self.num_seen[one.sequence_id] = one.num_cached
        assert len(self.scheduler.running) <= self.batch_max
        oldest = self.scheduler.running[:1]
        plan = self.scheduler.schedule()
        assert self.scheduler.running[:1] == oldest, "the oldest is never preempted"
        before = {one.sequence_id: one.num_pending for one in self.scheduler.running}
        self.check(plan.rows, before)
        self.write(plan.rows)
        drawn = drawn_for(plan.rows)
        grown = self.scheduler.advance(plan.rows, drawn)
        assert [one.sequence_id for one in grown] == list(drawn)
        for one in grown:
            assert one.num_allowed is None or len(one.output_ids) <= one.num_allowed
            if one.is_full:
                self.scheduler.remove(one.sequence_id)
                self.finished.add(one.sequence_id)

    def write(self, rows: tuple[BatchRow, ...]) -> None:
        """Do as a device does, and find each row's whole text in its blocks."""
        texts = {one.sequence_id: (*one.prompt_ids, *one.output_ids) for one in self.scheduler.running}
        adapters = {one.sequence_id: one.adapter_id for one in self.scheduler.running}
        for row in rows if self.scheduler.pool else ():
            text = texts[row.sequence_id]
            for place in range(row.position, row.position + len(row.token_ids)):
                cells = self.memory.setdefault(row.blocks[place // BLOCK_TOKENS], {})
                cells[place % BLOCK_TOKENS] = (adapters[row.sequence_id], *text[: place + 1])
        for row in rows if self.scheduler.pool else ():
            for place in range(row.position + len(row.token_ids)):
                cell = self.memory[row.blocks[place // BLOCK_TOKENS]][place % BLOCK_TOKENS]
                assert cell == (adapters[row.sequence_id], *texts[row.sequence_id][: place + 1])

    def check(self, rows: tuple[BatchRow, ...], before: dict[str, int]) -> None:
        names = [row.sequence_id for row in rows]
        assert len(set(names)) == len(names)
        assert not self.removed & set(names)
        assert not self.finished & set(names)
        for row in rows:
            assert row.position == self.num_seen.get(row.sequence_id, 0)
            assert len(row.token_ids) > 0
            assert (row.draw is not None) == (len(row.token_ids) == before[row.sequence_id])
            self.num_seen[row.sequence_id] = row.position + len(row.token_ids)
        decoding = [name for name, num_pending in before.items() if num_pending == 1]
        prefill = [row for row in rows if before[row.sequence_id] > 1]
        assert names == decoding + [row.sequence_id for row in prefill]
        assert sum(len(row.token_ids) for row in prefill) <= self.prefill_tokens_max
        assert all(row.draw for row in prefill[:-1]), "nobody is served before an older prompt is done"


@given(
    plans=st.lists(PLANS, min_size=1, max_size=10),
    batch_max=st.integers(1, 4),
    prefill_tokens_max=st.integers(1, 16),
    adapters_max=st.integers(1, 2),
    num_blocks=st.just(0) | st.integers(3, 9),
)
def test_every_sequence_finishes_and_every_step_keeps_the_rules(
    plans: list[SimpleNamespace], batch_max: int, prefill_tokens_max: int, adapters_max: int, num_blocks: int
) -> None:
    made = Scheduler(batch_max=batch_max, prefill_tokens_max=prefill_tokens_max, num_blocks=num_blocks)
    run = Run(made, batch_max, prefill_tokens_max, adapters_max)
    num_steps = 0
    while num_steps <= max(plan.arrives for plan in plans) or made.running or made.num_waiting:
        assert num_steps < STEPS_MAX, "somebody waits for ever"
        for number, plan in enumerate(plans):
            if plan.leaves == num_steps:
                run.remove(f"s{number}")
            if plan.arrives == num_steps:
                made.add(planned(number, plan))
            if plan.pays and num_steps > plan.arrives and num_steps % PAYS_EVERY == 0:
                made.allow(f"s{number}", plan.num_resumed + plan.pays * (num_steps - plan.arrives))
        run.step()
        num_steps += 1
    assert run.finished | run.removed == {f"s{number}" for number in range(len(plans))}
    assert not run.finished & run.removed
    assert made.pool is None or made.pool.num_used == 0
    assert (made._queue._num_live, made._queue._adapters) == ({}, {}), "nobody is remembered"


def planned(number: int, plan: SimpleNamespace) -> Sequence:
    num_resumed = min(plan.num_resumed, plan.max_tokens - 1)
    return sequence(
        f"s{number}",
        plan.num_prompt,
        max_tokens=plan.max_tokens,
        adapter=plan.adapter,
        num_resumed=num_resumed,
        payer=plan.payer,
        first=plan.first,
        num_allowed=num_resumed + plan.pays - 1 if plan.pays else None,
    )


def test_whoever_was_passed_by_too_often_is_passed_by_no_more() -> None:
    running = scheduler(sequence("large", 1, adapter="0xa"), batch_max=1)
    for number in range(PASSED_BY_MAX):
        running.add(sequence(f"s{number}", 1))
        assert joined(running, lambda one: one.sequence_id != "large") == [f"s{number}"]
        running.remove(f"s{number}")
    running.add(sequence("late", 1))
    assert joined(running, lambda one: one.sequence_id != "large") == []
    assert joined(running) == ["large"]


@given(
    lengths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    answers=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    batch_max=st.integers(1, 6),
    prefill_tokens_max=st.integers(1, 64),
)
def test_of_two_payers_that_always_wait_none_is_ahead_by_more_than_the_bound(
    lengths: tuple[int, int], answers: tuple[int, int], batch_max: int, prefill_tokens_max: int
) -> None:
    made = scheduler(batch_max=batch_max, prefill_tokens_max=prefill_tokens_max)
    served = {"p": 0, "q": 0}
    bound = 2 * max(WEIGHT_IN * max(lengths), WEIGHT_OUT * batch_max * max(answers))
    for number in range(40):
        for payer, length, max_tokens in zip("pq", lengths, answers, strict=True):
            for more in range(1 + batch_max - sum(one.payer == payer for one in made.waiting)):
                made.add(sequence(f"{payer}{number}+{more}", length, max_tokens=max_tokens, payer=payer))
        for one in made.admit(anybody):
            served[one.payer] += WEIGHT_IN * one.num_pending
        rows = made.schedule().rows
        for one in made.advance(rows, drawn_for(rows)):
            served[one.payer] += WEIGHT_OUT
            if one.is_full:
                made.remove(one.sequence_id)
        assert abs(served["p"] - served["q"]) <= bound


def test_a_newcomer_does_not_make_up_for_the_time_when_it_was_away() -> None:
    running, turns = scheduler(batch_max=1), list[str]()
    for payers, num_turns in ((("old", "other"), 8), (("new",), 9)):
        for payer, number in product(payers, range(10)):
            running.add(sequence(f"{payer} {number}", 4, payer=payer))
        for _ in range(num_turns):
            turns += joined(running)
            running.remove(turns[-1])
    assert sorted(name.split()[0] for name in turns[8:]) == ["new"] * 3 + ["old"] * 3 + ["other"] * 3


def test_the_adapters_of_one_payer_take_turns() -> None:
    many = [sequence(f"m{number}", 4, adapter="0xa") for number in range(20)]
    running = scheduler(*many, sequence("f", 4, adapter="0xb"), batch_max=2)
    assert joined(running) == ["m0", "f"]


# ---- allowances


def run_until_parked(running: Scheduler) -> list[str]:
    """Admit and run steps until sequences are parked, and return their names."""
    while not (parked := running.park()):
        running.admit(anybody)
        rows = running.schedule().rows
        running.advance(rows, drawn_for(rows))
    return [one.sequence_id for one in parked]


def test_a_parked_sequence_computes_again_less_than_two_blocks_while_there_is_room() -> None:
    paid = sequence("a", 3 * BLOCK_TOKENS + 5, max_tokens=99, num_allowed=1)
    running = scheduler(paid, prefill_tokens_max=99, num_blocks=8)
    run_until_parked(running)
    assert running.pool.num_used == 0
    running.allow("a", 2)
    running.admit(anybody)
    (row,) = step(running)
    assert (len(row.token_ids), row.draw is not None) == (5 + 1, True)


def test_a_payer_that_resumes_many_sequences_takes_no_turn_of_another() -> None:
    many = [sequence(f"m{number}", 4, max_tokens=99, payer="many", num_allowed=1) for number in range(4)]
    running = scheduler(*many, batch_max=1)
    for one in many:
        assert run_until_parked(running) == [one.sequence_id]
    running.add(sequence("new", 4, payer="many"))
    running.add(sequence("f", 4, payer="few"))
    for one in many:
        running.allow(one.sequence_id, 2)
    turns: list[str] = []
    for _ in range(6):
        turns += joined(running)
        running.remove(turns[-1])
    assert turns.index("f") <= 1
    assert turns[-1] == "new"


# ---- whose turn it is


def test_a_payer_that_returns_keeps_its_count_and_starts_no_lower_than_the_least_that_waits() -> None:
    counters = TokenCounters()
    counters.enter("a", [])
    counters.charge("a", 10)
    counters.enter("b", ["a"])
    assert counters["b"] == 10
    counters.charge("b", 5)
    counters.leave("b", ["a"])
    counters.enter("b", ["a"])
    assert counters["b"] == 15, "what it was served is not forgotten by leaving"
    counters.charge("a", 30)
    counters.leave("b", ["a"])
    counters.enter("b", ["a"])
    assert counters["b"] == 40, "and turns are not saved up"


def test_a_payer_that_runs_is_charged_even_if_others_arrive() -> None:
    counters = TokenCounters()
    counters.enter("a", [])
    counters.enter("b", ["a"])
    counters.charge("b", 100)
    counters.enter("c", ["b"])  # a runs, and is under the least of those who wait
    counters.charge("a", 150)
    counters.enter("a", ["b", "c"])
    assert counters["a"] == 150


def test_a_payer_that_left_with_no_more_than_the_least_count_is_forgotten() -> None:
    counters = TokenCounters()
    for number in range(100):
        counters.enter(f"n{number}", [])
        counters.leave(f"n{number}", [])
    assert counters._served == {}


def test_a_sequence_that_was_put_back_goes_before_those_that_never_ran() -> None:
    queue = FairQueue()
    first, second = sequence("first", payer="p"), sequence("second", payer="q")
    queue.add(first)
    queue.take(first)
    queue.add(second)
    queue.take(second)
    queue.put_back(second)
    queue.put_back(first)
    queue.add(sequence("third", payer="r"))
    assert [one.sequence_id for one in queue.turns()] == ["first", "second", "third"]
    assert queue.find("first") is first


def test_the_adapters_that_are_wanted_are_named_in_the_order_of_turns() -> None:
    queue = FairQueue()
    for number, adapter in enumerate(("0xa", "0xa", "0xb", None)):
        queue.add(sequence(f"s{number}", adapter=adapter))
    queue.take(next(queue.turns()))
    assert [source.id for source in queue.adapters()] == ["0xb", "0xa"]
