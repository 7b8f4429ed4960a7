"""Which adapters stay in a tier: a budget, the least worth out first, those in use and those pinned never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.adapter_cache import AdapterCache, prefetch_plan
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.primitives import AdapterId

BUDGET = 100
A, B, C, D = map(AdapterId, "abcd")


def cache(*sizes: tuple[AdapterId, int], budget_bytes: int = BUDGET) -> AdapterCache:
    made = AdapterCache(budget_bytes=budget_bytes)
    for adapter_id, size_bytes in sizes:
        made.add(adapter_id, size_bytes, reload_s=size_bytes / 100)
    return made


@pytest.mark.parametrize(
    ("size_bytes", "in_use", "leaving"),
    [
        (10, set(), []),  # there is room
        (11, set(), [A]),
        (41, set(), [A, B]),
        (101, set(), None),
        (41, {A}, [B, C]),
        (71, {A}, None),  # a's 30 stay
        (11, {A, B, C}, None),
        (11, {D}, [A]),  # in use, but not here
    ],
)
def test_no_more_leave_than_must_and_none_that_is_in_use(
    size_bytes: int, in_use: set[AdapterId], leaving: list[AdapterId] | None
) -> None:
    assert cache((A, 30), (B, 30), (C, 30)).plan(size_bytes, in_use) == leaving


def test_what_is_used_often_outlives_what_is_used_once() -> None:
    resident = cache((A, 30), (B, 30), (C, 30))
    for _ in range(2):
        resident.touch(A)
    assert resident.resident == (B, C, A)


def test_what_is_slow_to_bring_back_for_its_size_outlives_what_is_quick() -> None:
    resident = AdapterCache(budget_bytes=BUDGET)
    resident.add(A, 30, reload_s=9.0)
    resident.add(B, 30, reload_s=0.1)
    assert resident.plan(60, set()) == [B]


def test_old_fame_fades() -> None:
    resident = cache((A, 30), (B, 30))
    for _ in range(5):
        resident.touch(A)
    for number in range(20):  # each that leaves moves the clock on by its worth
        newcomer = AdapterId(f"n{number}")
        for leaving in resident.plan(70, set()) or ():
            resident.remove(leaving)
        resident.add(newcomer, 40, reload_s=0.4)
        if A not in resident:
            return
    pytest.fail("whoever was famous once stays for ever")


def test_what_is_pinned_stays_until_it_is_unpinned() -> None:
    resident = cache((A, 30), (B, 30))
    resident.pin(A)
    assert resident.plan(70, set()) == [B]
    assert resident.plan(80, set()) is None
    assert not resident.can_hold(71)
    assert resident.can_hold(70)
    resident.unpin(A)
    assert resident.plan(80, set()) == [A, B]


USES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=3)), min_size=1, max_size=25
)
SIZES = st.fixed_dictionaries({name: st.integers(1, 60) for name in "abcdef"})


@given(uses=USES, sizes=SIZES, pinned=st.sets(st.sampled_from("abcdef"), max_size=2))
def test_the_budget_holds_and_nothing_in_use_or_pinned_leaves_whatever_is_asked_for(
    uses: list[tuple[str, set[str]]], sizes: dict[str, int], pinned: set[str]
) -> None:
    device = AdapterCache(budget_bytes=BUDGET)
    for name in pinned:
        device.pin(AdapterId(name))
    for needed, others in uses:
        adapter_id, in_use = AdapterId(needed), {AdapterId(name) for name in others}
        before = set(device.resident)
        if adapter_id in device:
            device.touch(adapter_id)
            continue
        leaving = device.plan(sizes[needed], in_use)
        kept = before & (in_use | {AdapterId(name) for name in pinned})
        if leaving is None:
            assert sizes[needed] + sum(sizes[name] for name in kept) > BUDGET
            continue
        assert not kept & set(leaving)
        for name in leaving:
            device.remove(name)
        device.add(adapter_id, sizes[needed], reload_s=1.0)
        assert device.used_bytes == sum(sizes[name] for name in device.resident) <= BUDGET
        assert set(device.resident) == before - set(leaving) | {adapter_id}


def test_what_is_wanted_first_is_read_first_and_nothing_twice() -> None:
    needed = [AdapterSource(id=name, folder="") for name in (A, B, C, D)]
    assert [source.id for source in prefetch_plan(needed, present={B}, num_max=2)] == [A, C]
    assert prefetch_plan(needed, present=(), num_max=-1) == []
