"""Which adapters stay on the device: a budget, least lately used out first, those in use never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.inference.adapter_cache import AdapterCache
from openledger_protocol.primitives import AdapterId

BUDGET = 100
A, B, C, D = map(AdapterId, "abcd")


def cache(*sizes: tuple[AdapterId, int], budget_bytes: int = BUDGET) -> AdapterCache:
    made = AdapterCache(budget_bytes=budget_bytes)
    for adapter_id, size_bytes in sizes:
        made.add(adapter_id, size_bytes)
    return made


@pytest.mark.parametrize(
    ("size_bytes", "in_use", "leaving"),
    [
        (10, set(), []),  # there is room
        (11, set(), [A]),
        (40, set(), [A]),
        (41, set(), [A, B]),
        (100, set(), [A, B, C]),
        (101, set(), None),
        (40, {A}, [B]),
        (41, {A}, [B, C]),
        (71, {A}, None),  # a's 30 stay
        (10, {A, B, C}, []),
        (11, {A, B, C}, None),
        (11, {D}, [A]),  # in use, but not here
    ],
)
def test_those_used_least_lately_go_and_no_more_than_must(
    size_bytes: int, in_use: set[AdapterId], leaving: list[AdapterId] | None
) -> None:
    resident = cache((A, 30), (B, 30), (C, 30))
    assert resident.plan(size_bytes, in_use) == leaving


def test_a_plan_changes_nothing() -> None:
    resident = cache((A, 30), (B, 30))
    resident.plan(90, set())
    assert (resident.resident, resident.used_bytes) == ((A, B), 60)


def test_a_use_makes_an_adapter_the_last_to_go() -> None:
    resident = cache((A, 30), (B, 30), (C, 30))
    resident.touch(A)
    assert resident.resident == (B, C, A)
    assert resident.plan(40, set()) == [B]


def test_an_adapter_that_left_takes_no_room() -> None:
    resident = cache((A, 60), (B, 40))
    resident.remove(A)
    assert A not in resident
    assert B in resident
    assert (resident.used_bytes, resident.budget_bytes) == (40, BUDGET)


def test_adding_without_room_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match=r"plan\(\) comes first"):
        cache((A, 60)).add(B, 41)


USES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=3)), min_size=1, max_size=40
)
SIZES = st.fixed_dictionaries({name: st.integers(1, 60) for name in "abcdef"})


@given(uses=USES, sizes=SIZES)
def test_the_budget_holds_and_nothing_in_use_goes_whatever_is_asked_for(
    uses: list[tuple[str, set[str]]], sizes: dict[str, int]
) -> None:
    device = AdapterCache(budget_bytes=BUDGET)
    last_used: list[str] = []  # the oldest first: what the cache must know
    for wanted, others in uses:
        in_use = {AdapterId(name) for name in others & set(last_used)}
        adapter_id = AdapterId(wanted)
        if adapter_id in device:
            device.touch(adapter_id)
            last_used.remove(wanted)
            last_used.append(wanted)
            continue
        leaving = device.plan(sizes[wanted], in_use)
        if leaving is None:
            assert sizes[wanted] + sum(sizes[name] for name in in_use) > BUDGET
            continue
        assert leaving == [name for name in last_used if name in leaving], "in the order of their last use"
        assert not in_use & set(leaving)
        oldest = [name for name in last_used if name not in in_use]
        assert leaving == oldest[: len(leaving)], "no younger one goes before an older one"
        for name in leaving:
            device.remove(name)
            last_used.remove(name)
        device.add(adapter_id, sizes[wanted])
        last_used.append(wanted)
        assert device.used_bytes == sum(sizes[name] for name in last_used) <= BUDGET
        assert list(device.resident) == last_used
