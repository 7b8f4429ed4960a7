"""Whose turn it is, and that nobody is lost, forgotten too early or remembered for ever."""

from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.fair_queue import FairQueue, TokenCounters
from openledger_node.engine.sequence import Sequence
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId


def sequence(name: str, *, payer: str = "", adapter: str | None = None) -> Sequence:
    return Sequence(
        sequence_id=name,
        prompt_ids=(1, 2),
        sampling=SamplingParams(max_tokens=4, seed=0),
        adapter=AdapterSource(id=AdapterId(adapter), folder="") if adapter else None,
        payer=payer,
    )


def test_whoever_comes_back_is_where_it_was_or_at_the_least_of_those_who_wait() -> None:
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


def test_what_runs_is_charged_although_others_come_meanwhile() -> None:
    counters = TokenCounters()
    counters.enter("a", [])
    counters.enter("b", ["a"])
    counters.charge("b", 100)
    counters.enter("c", ["b"])  # a runs, and is under the least of those who wait
    counters.charge("a", 150)
    counters.enter("a", ["b", "c"])
    assert counters["a"] == 150


def test_who_has_left_with_no_more_than_the_least_is_forgotten() -> None:
    counters = TokenCounters()
    for number in range(100):
        counters.enter(f"n{number}", [])
        counters.leave(f"n{number}", [])
    assert counters._served == {}


def test_who_had_its_turn_goes_before_all_others() -> None:
    queue = FairQueue()
    first, second = sequence("first", payer="p"), sequence("second", payer="q")
    queue.add(first)
    queue.take(first)
    queue.add(second)
    queue.put_back(first)
    assert [one.sequence_id for one in queue.turns()] == ["first", "second"]
    assert queue.find("first") is first


def test_the_adapters_that_are_wanted_are_named_in_the_order_of_turns() -> None:
    queue = FairQueue()
    for number, adapter in enumerate(("0xa", "0xa", "0xb", None)):
        queue.add(sequence(f"s{number}", adapter=adapter))
    queue.take(next(queue.turns()))
    assert [source.id for source in queue.adapters()] == ["0xb", "0xa"]


@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "put_back", "end"]),
            st.sampled_from(["", "p", "q"]),
            st.sampled_from([None, "0xa", "0xb"]),
            st.integers(0, 30),
        ),
        max_size=60,
    )
)
def test_nobody_is_lost_or_twice_whatever_happens(
    operations: list[tuple[str, str, str | None, int]],
) -> None:
    queue = FairQueue()
    waiting: list[Sequence] = []
    running: list[Sequence] = []
    for number, (operation, payer, adapter, which) in enumerate(operations):
        if operation == "add":
            waiting.append(sequence(f"s{number}", payer=payer, adapter=adapter))
            queue.add(waiting[-1])
        elif operation == "take" and waiting:
            running.append(next(queue.turns()))
            waiting.remove(running[-1])
            queue.take(running[-1])
            queue.charge(running[-1], which)
        elif operation == "put_back" and running:
            waiting.append(running.pop())
            queue.put_back(waiting[-1])
        elif operation == "end" and waiting + running:
            gone = (waiting + running)[which % len(waiting + running)]
            queue.end(gone)
            (waiting if gone in waiting else running).remove(gone)
        assert sorted(one.sequence_id for one in queue) == sorted(one.sequence_id for one in waiting)
        assert len(queue) == len(waiting)
        heads = list(queue.turns())
        assert len(heads) == len(set(map(id, heads)))
        assert {id(one) for one in heads} <= {id(one) for one in waiting}
        assert bool(heads) == bool(waiting)
    for one in [*waiting, *running]:
        queue.end(one)
    assert (len(queue), queue._num_live, queue._adapters) == (0, {}, {})
