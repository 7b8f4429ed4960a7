"""Who runs in a step: the rules that hold in every step of every run, and small runs that show each of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from openledger_node.inference.backend import Row
from openledger_node.inference.scheduler import PASSED_BY_MAX, Scheduler
from openledger_node.inference.sequence import AdapterSource, Sequence
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

STEPS_MAX = 2_000
TOKEN = 7


def sequence(
    name: str, num_prompt: int, *, max_tokens: int = 1, adapter: str | None = None, num_resumed: int = 0
) -> Sequence:
    source = AdapterSource(id=AdapterId(adapter), folder="", num_parameters=1) if adapter else None
    return Sequence(
        sequence_id=name,
        prompt_ids=tuple(range(num_prompt)),
        sampling=SamplingParams(max_tokens=max_tokens, seed=1),
        adapter=source,
        output_ids=[TOKEN] * num_resumed,
    )


def scheduler(*waiting: Sequence, batch_max: int = 8, prefill_tokens_max: int = 8) -> Scheduler:
    made = Scheduler(batch_max=batch_max, prefill_tokens_max=prefill_tokens_max)
    for one in waiting:
        made.add(one)
    return made


def anybody(_: Sequence) -> bool:
    return True


def shape(rows: Iterable[Row]) -> list[tuple[str, int, bool]]:
    """Who runs, how many tokens of it, and whether it draws."""
    return [(row.sequence_id, len(row.token_ids), row.sampling is not None) for row in rows]


def step(running: Scheduler) -> tuple[Row, ...]:
    rows = running.schedule()
    running.advance(rows, {row.sequence_id: TOKEN for row in rows if row.sampling})
    return rows


def test_a_prompt_runs_in_chunks_and_draws_only_after_the_last() -> None:
    running = scheduler(sequence("a", 10), prefill_tokens_max=4)
    running.admit(anybody)
    assert [shape(step(running)) for _ in range(3)] == [[("a", 4, False)], [("a", 4, False)], [("a", 2, True)]]


def test_decoding_goes_on_while_a_long_prompt_is_worked_on() -> None:
    running = scheduler(sequence("reads", 3, max_tokens=9), sequence("long", 20), prefill_tokens_max=8)
    running.admit(anybody)
    assert shape(step(running)) == [("reads", 3, True), ("long", 5, False)]
    assert shape(step(running)) == [("reads", 1, True), ("long", 8, False)]
    assert shape(step(running)) == [("reads", 1, True), ("long", 7, True)]
    assert shape(step(running)) == [("reads", 1, True), ("long", 1, True)]


def test_prompts_share_the_budget_in_the_order_of_joining() -> None:
    running = scheduler(sequence("a", 5), sequence("b", 5), sequence("c", 5), prefill_tokens_max=8)
    running.admit(anybody)
    assert shape(running.schedule()) == [("a", 5, True), ("b", 3, False)]


def test_a_resumed_sequence_runs_its_prompt_and_its_answer_before_it_draws() -> None:
    running = scheduler(sequence("a", 3, max_tokens=5, num_resumed=2), prefill_tokens_max=4)
    running.admit(anybody)
    first, second = step(running), step(running)
    assert shape(first) == [("a", 4, False)]
    assert shape(second) == [("a", 1, True)]
    assert first[0].token_ids + second[0].token_ids == (0, 1, 2, TOKEN, TOKEN)


def test_nobody_joins_a_full_batch() -> None:
    running = scheduler(*(sequence(name, 1) for name in "abc"), batch_max=2)
    assert [joined.sequence_id for joined in running.admit(anybody)] == ["a", "b"]
    assert running.admit(anybody) == []
    assert running.num_waiting == 1
    running.remove("a")
    assert [joined.sequence_id for joined in running.admit(anybody)] == ["c"]


def test_a_sequence_whose_adapter_has_no_room_blocks_nobody_and_keeps_its_turn() -> None:
    running = scheduler(sequence("a", 1, adapter="big"), sequence("b", 1), sequence("c", 1), batch_max=2)
    assert [joined.sequence_id for joined in running.admit(lambda one: one.adapter is None)] == ["b", "c"]
    running.add(sequence("d", 1))
    running.remove("b")
    assert [joined.sequence_id for joined in running.admit(anybody)] == ["a"]


def test_who_is_asked_for_joining_is_asked_in_the_order_of_arrival_and_only_for_free_places() -> None:
    asked: list[str] = []

    def ask(one: Sequence) -> bool:
        asked.append(one.sequence_id)
        return one.sequence_id != "a"

    scheduler(*(sequence(name, 1) for name in "abcd"), batch_max=2).admit(ask)
    assert asked == ["a", "b", "c"]


def test_a_sequence_may_be_dropped_while_it_is_asked_for() -> None:
    running = scheduler(*(sequence(name, 1) for name in "abc"))

    def refuse_b(one: Sequence) -> bool:
        if one.sequence_id == "b":
            running.remove("b")
            return False
        return True

    assert [joined.sequence_id for joined in running.admit(refuse_b)] == ["a", "c"]
    assert running.num_waiting == 0


def test_a_removed_sequence_is_gone_wherever_it_was() -> None:
    waits, runs = sequence("waits", 4), sequence("runs", 4)
    running = scheduler(runs, waits, batch_max=1)
    running.admit(anybody)
    assert running.remove("waits") is waits
    assert running.remove("runs") is runs
    assert running.remove("runs") is None
    assert running.remove("nobody") is None
    assert (running.num_waiting, running.running, running.schedule()) == (0, [], ())


@dataclass
class Plan:
    """One sequence of a random run."""

    arrives: int  # before this step
    num_prompt: int
    max_tokens: int
    adapter: str | None
    num_resumed: int
    leaves: int | None  # cancelled before this step


PLANS = st.builds(
    Plan,
    arrives=st.integers(0, 12),
    num_prompt=st.integers(1, 30),
    max_tokens=st.integers(1, 6),
    adapter=st.sampled_from([None, "a", "b", "c"]),
    num_resumed=st.integers(0, 3),
    leaves=st.none() | st.integers(0, 30),
)


@dataclass
class Run:
    """A scheduler with a device that never fails, checked in every step."""

    scheduler: Scheduler
    batch_max: int
    prefill_tokens_max: int
    adapters_max: int
    num_seen: dict[str, int] = field(default_factory=dict)  # tokens of a sequence that the device holds
    finished: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def can_join(self, one: Sequence) -> bool:
        used = {other.adapter_id for other in self.scheduler.running if other.adapter_id}
        return one.adapter_id is None or len(used | {one.adapter_id}) <= self.adapters_max

    def remove(self, name: str) -> None:
        if name not in self.finished and self.scheduler.remove(name):
            self.removed.add(name)

    def step(self) -> None:
        self.scheduler.admit(self.can_join)
        assert len(self.scheduler.running) <= self.batch_max
        before = {one.sequence_id: one.num_pending for one in self.scheduler.running}
        rows = self.scheduler.schedule()
        self.check(rows, before)
        tokens = {row.sequence_id: TOKEN for row in rows if row.sampling}
        grown = self.scheduler.advance(rows, tokens)
        assert [one.sequence_id for one in grown] == list(tokens)
        for one in grown:
            if one.is_full:
                self.scheduler.remove(one.sequence_id)
                self.finished.add(one.sequence_id)

    def check(self, rows: tuple[Row, ...], before: dict[str, int]) -> None:
        names = [row.sequence_id for row in rows]
        assert len(set(names)) == len(names)
        assert not self.removed & set(names)
        assert not self.finished & set(names)
        for row in rows:
            assert row.position == self.num_seen.get(row.sequence_id, 0)
            assert len(row.token_ids) > 0
            assert (row.sampling is not None) == (len(row.token_ids) == before[row.sequence_id])
            self.num_seen[row.sequence_id] = row.position + len(row.token_ids)
        decoding = [name for name, num_pending in before.items() if num_pending == 1]
        prefill = [row for row in rows if before[row.sequence_id] > 1]
        assert names == decoding + [row.sequence_id for row in prefill]
        assert sum(len(row.token_ids) for row in prefill) <= self.prefill_tokens_max
        assert all(row.sampling for row in prefill[:-1]), "nobody is served before an older prompt is done"


@given(
    plans=st.lists(PLANS, min_size=1, max_size=10),
    batch_max=st.integers(1, 4),
    prefill_tokens_max=st.integers(1, 16),
    adapters_max=st.integers(1, 2),
)
def test_every_sequence_finishes_and_every_step_keeps_the_rules(
    plans: list[Plan], batch_max: int, prefill_tokens_max: int, adapters_max: int
) -> None:
    made = Scheduler(batch_max=batch_max, prefill_tokens_max=prefill_tokens_max)
    run = Run(made, batch_max, prefill_tokens_max, adapters_max)
    num_steps = 0
    while num_steps <= max(plan.arrives for plan in plans) or made.running or made.num_waiting:
        assert num_steps < STEPS_MAX, "somebody waits for ever"
        for number, plan in enumerate(plans):
            if plan.leaves == num_steps:
                run.remove(f"s{number}")
            if plan.arrives == num_steps:
                made.add(planned(number, plan))
        run.step()
        num_steps += 1
    assert run.finished | run.removed == {f"s{number}" for number in range(len(plans))}
    assert not run.finished & run.removed


def planned(number: int, plan: Plan) -> Sequence:
    num_resumed = min(plan.num_resumed, plan.max_tokens - 1)
    return sequence(
        f"s{number}",
        plan.num_prompt,
        max_tokens=plan.max_tokens,
        adapter=plan.adapter,
        num_resumed=num_resumed,
    )


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.integers(1, 3))
def test_where_anybody_may_join_all_join_in_the_order_of_arrival(lengths: list[int], batch_max: int) -> None:
    names = [f"s{number}" for number in range(len(lengths))]
    running = scheduler(*map(sequence, names, lengths), batch_max=batch_max)
    joined: list[str] = []
    while running.num_waiting or running.running:
        joined += [one.sequence_id for one in running.admit(anybody)]
        running.remove(running.running[0].sequence_id)
    assert joined == names


@given(num_prompt=st.integers(1, 20), num_resumed=st.integers(0, 5), cuts=st.lists(st.integers(1, 9), max_size=30))
def test_pending_tokens_taken_piece_by_piece_are_the_whole_sequence(
    num_prompt: int, num_resumed: int, cuts: list[int]
) -> None:
    one = sequence("a", num_prompt, num_resumed=num_resumed)
    taken: tuple[int, ...] = ()
    for count in [*cuts, 99]:
        piece = one.pending_ids(min(count, one.num_pending))
        one.num_cached += len(piece)
        taken += piece
    assert taken == (*one.prompt_ids, *one.output_ids)
    assert one.num_pending == 0


GREEDY = SamplingParams(max_tokens=4, seed=1, temperature=0)


def test_whoever_was_passed_by_too_often_is_passed_by_no_more() -> None:
    scheduler = Scheduler(batch_max=1, prefill_tokens_max=64)
    scheduler.add(Sequence(sequence_id="large", prompt_ids=(1,), sampling=GREEDY))
    for number in range(PASSED_BY_MAX):
        scheduler.add(Sequence(sequence_id=f"s{number}", prompt_ids=(1,), sampling=GREEDY))
        (joined,) = scheduler.admit(lambda sequence: sequence.sequence_id != "large")
        scheduler.remove(joined.sequence_id)
    scheduler.add(Sequence(sequence_id="late", prompt_ids=(1,), sampling=GREEDY))
    assert scheduler.admit(lambda sequence: sequence.sequence_id != "large") == []
    assert [joined.sequence_id for joined in scheduler.admit(lambda _: True)] == ["large"]
