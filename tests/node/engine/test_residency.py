"""Adapters on their way from disk to device, over a backend that reads and loads as it is told."""

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.adapter_cache import AdapterCache, prefetch_plan
from openledger_node.engine.backend import AdapterMustWaitError
from openledger_node.engine.residency import READ_AHEAD_MAX, READ_AHEAD_SHARE, Residency
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError, UnavailableError
from openledger_protocol.primitives import AdapterId

WAIT_S = 10.0


@dataclass
class Shelf:
    """Adapters by name, as a backend sees them: a size, or what goes wrong."""

    sizes: dict[str, int | Exception]
    read: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    is_full: bool = False
    is_busy: bool = False

    def read_adapter(self, source: AdapterSource) -> SimpleNamespace:
        self.read.append(source.id)
        size = self.sizes[source.id]
        if isinstance(size, Exception):
            raise size
        return SimpleNamespace(size_bytes=size)

    def load_adapter(self, adapter_id: AdapterId, adapter: object) -> None:
        assert adapter_id not in self.loaded
        if self.is_full:
            raise MemoryError
        if self.is_busy:
            raise AdapterMustWaitError
        self.loaded.add(adapter_id)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        self.loaded.remove(adapter_id)


def source(name: str) -> AdapterSource:
    return AdapterSource(id=AdapterId(name), folder=f"/adapters/{name}")


def residency(
    shelf: Shelf, *, device_bytes: int = 100, ram_bytes: int = 0, check: Callable[[AdapterSource], bool] | None = None
) -> Residency:
    return Residency(
        shelf,  # type: ignore[arg-type]  # of a backend it needs these three alone
        device_bytes=device_bytes,
        ram_bytes=ram_bytes,
        check=check or (lambda _: True),
    )


def read_all(made: Residency, in_use: Sequence[AdapterId] = ()) -> None:
    while made.loader.pending:
        assert select.select([made.loader.bell], [], [], WAIT_S)[0], "nothing was read"
        made.collect(in_use)


def bring(made: Residency, name: str, in_use: tuple[str, ...] = ()) -> bool:
    """Ask for an adapter as the worker does for one that waits, until it is read."""
    used = [AdapterId(other) for other in in_use]
    if made.ready(source(name), used):
        return True
    read_all(made, used)
    return made.ready(source(name), used)


def test_a_cold_adapter_is_read_once_and_is_there_when_it_was_read() -> None:
    shelf = Shelf({"a": 10})
    made = residency(shelf)
    assert not made.ready(source("a"), ())
    assert not made.ready(source("a"), ())
    read_all(made)
    assert made.ready(source("a"), ())
    assert (shelf.read, shelf.loaded, made.num_loads) == (["a"], {"a"}, 1)
    assert made.load_ms(0.5) >= 0


def test_those_in_use_stay_and_one_that_cannot_be_loaded_yet_waits_without_being_read_again() -> None:
    shelf = Shelf({"a": 60, "b": 60}, is_busy=True)
    made = residency(shelf)
    assert not bring(made, "a")
    shelf.is_busy = False
    assert bring(made, "a")
    assert not bring(made, "b", in_use=("a",))
    assert made.ready(source("b"), ())
    assert (shelf.read, shelf.loaded) == (["a", "b"], {"b"})


@pytest.mark.parametrize(("pinned", "advice"), [((), "adapter_cache_bytes"), (("a",), "pin fewer")])
def test_an_adapter_that_can_never_have_room_is_refused_with_what_to_change(
    pinned: tuple[str, ...], advice: str
) -> None:
    made = residency(Shelf({"a": 50, "b": 60 if pinned else 101}))
    for name in pinned:
        made.pin(source(name))
        assert bring(made, name)
    with pytest.raises(AdapterRefusedError, match=advice):
        bring(made, "b")


@pytest.mark.parametrize("error", [AdapterRefusedError("no header"), ValueError("odd")], ids=repr)
def test_a_failed_read_refuses_that_adapter_alone_and_is_tried_again_once_nobody_waits(error: Exception) -> None:
    shelf = Shelf({"bad": error, "good": 10})
    made = residency(shelf)
    for _ in range(2):  # two that wait for it hear of one reading
        with pytest.raises(AdapterRefusedError, match=r"no header|/adapters/bad"):
            bring(made, "bad")
    assert bring(made, "good")
    made.read_ahead([])
    shelf.sizes["bad"] = 10
    assert bring(made, "bad")
    assert shelf.read == ["bad", "good", "bad"]


def test_adapters_are_read_ahead_in_the_order_in_which_they_are_wanted_and_within_a_bound() -> None:
    names = [f"n{number}" for number in range(10)]
    shelf = Shelf(dict.fromkeys(names, 99))
    made = residency(shelf, device_bytes=100 * READ_AHEAD_SHARE * READ_AHEAD_MAX)
    made.read_ahead(list(map(source, names)))
    assert len(made.loader.pending) == READ_AHEAD_MAX
    read_all(made)
    assert shelf.read == names[:READ_AHEAD_MAX]
    assert shelf.loaded == set(names[:READ_AHEAD_MAX])


def test_what_was_read_ahead_makes_nobody_leave_and_nothing_more_is_read_while_it_takes_much() -> None:
    names = [f"n{number}" for number in range(10)]
    shelf = Shelf(dict.fromkeys(names, 60))
    made = residency(shelf)
    made.read_ahead(list(map(source, names)))
    read_all(made)
    assert shelf.loaded == {"n0"}
    made.read_ahead(list(map(source, names)))
    assert not made.loader.pending
    assert made.ready(source("n3"), ()), "whose turn it is may make room"
    assert shelf.loaded == {"n3"}


def test_what_was_read_for_somebody_who_left_is_forgotten() -> None:
    shelf = Shelf({"a": 60, "b": 60, "c": 60})
    made = residency(shelf)
    assert bring(made, "a")
    assert not bring(made, "b", in_use=("a",))
    made.read_ahead([source("c")])
    assert bring(made, "b")
    assert shelf.read.count("b") == 2


def refuse(_: AdapterSource) -> bool:
    raise AdapterRefusedError("it answers like the base")


def test_an_adapter_that_fails_its_trial_is_taken_off_the_device_and_refused() -> None:
    shelf = Shelf({"a": 10})
    made = residency(shelf, check=refuse)
    for _ in range(2):  # two that wait for it hear of one trial
        with pytest.raises(AdapterRefusedError, match="like the base"):
            bring(made, "a")
    assert (shelf.read, shelf.loaded) == (["a"], set())


def test_an_adapter_is_tried_again_until_that_was_possible() -> None:
    tried: list[str] = []

    def check(one: AdapterSource) -> bool:
        tried.append(one.id)
        return len(tried) > 1

    made = residency(Shelf({"a": 10}), check=check)
    for _ in range(4):
        assert bring(made, "a")
    assert tried == ["a", "a"]


def test_an_adapter_that_fails_a_late_trial_stays_for_those_who_run_on_it_and_is_refused_to_others() -> None:
    can_be_tried = False
    shelf = Shelf({"a": 10})
    made = residency(shelf, check=lambda one: can_be_tried and refuse(one))
    assert bring(made, "a")
    can_be_tried = True
    with pytest.raises(AdapterRefusedError, match="like the base"):
        made.ready(source("a"), [AdapterId("a")])
    assert shelf.loaded == {"a"}
    made.read_ahead([])
    with pytest.raises(AdapterRefusedError, match="like the base"):
        made.ready(source("a"), [])
    assert shelf.loaded == set()


@pytest.mark.parametrize(("ram_bytes", "reads"), [(120, "ab"), (60, "aba")])
def test_an_adapter_that_left_the_device_is_read_again_only_if_main_memory_has_no_room_for_it(
    ram_bytes: int, reads: str
) -> None:
    shelf = Shelf({"a": 60, "b": 60})
    made = residency(shelf, ram_bytes=ram_bytes)
    for name in "aba":
        assert bring(made, name)
    assert (shelf.read, shelf.loaded, made.num_loads) == (list(reads), {"a"}, 3)


def test_what_is_unloaded_leaves_no_copy_behind() -> None:
    shelf = Shelf({"a": 60})
    made = residency(shelf, ram_bytes=100)
    bring(made, "a")
    made.unload(AdapterId("a"))
    assert (made.device.resident, shelf.loaded) == ((), set())
    assert bring(made, "a")
    assert shelf.read == ["a", "a"]


def test_a_pinned_adapter_that_is_refused_is_pinned_no_more() -> None:
    shelf = Shelf({"a": ValueError("torn")})
    made = residency(shelf)
    made.pin(source("a"))
    made.read_ahead([])
    read_all(made)
    made.read_ahead([])
    assert not made.loader.pending


def test_where_memory_is_too_small_for_what_was_read_ahead_whoever_waits_for_it_is_told_to_come_again() -> None:
    shelf = Shelf({"a": 10}, is_full=True)
    made = residency(shelf)
    made.read_ahead([source("a")])
    read_all(made)
    with pytest.raises(UnavailableError):
        made.ready(source("a"), ())
    made.read_ahead([])
    shelf.is_full = False
    assert bring(made, "a")


# ---- which adapters stay in a tier: a budget, the least worth out first, those in use and those pinned never

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
