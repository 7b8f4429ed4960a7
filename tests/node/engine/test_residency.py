"""Adapters on their way from disk to device, over a backend that reads and loads as it is told."""

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from openledger_node.engine.backend import AdapterMustWaitError
from openledger_node.engine.residency import READ_AHEAD_MAX, READ_AHEAD_SHARE, Residency
from openledger_node.engine.sequence import Sequence as EngineSequence
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError, UnavailableError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

WAIT_S = 10.0


@dataclass(frozen=True)
class Host:
    size_bytes: int


@dataclass
class Shelf:
    """Adapters by name, as a backend sees them: a size, or what goes wrong."""

    sizes: dict[str, int | Exception]
    read: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    is_full: bool = False
    is_busy: bool = False

    def read_adapter(self, source: AdapterSource) -> Host:
        self.read.append(source.id)
        size = self.sizes[source.id]
        if isinstance(size, Exception):
            raise size
        return Host(size)

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
def test_a_failed_read_refuses_that_adapter_alone_and_is_tried_again_once_nobody_waits(
    error: Exception,
) -> None:
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


def test_an_adapter_that_fails_its_trial_is_taken_off_the_device_and_refused() -> None:
    shelf = Shelf({"a": 10})

    def check(_: AdapterSource) -> bool:
        raise AdapterRefusedError("it answers like the base")

    made = residency(shelf, check=check)
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

    def check(_: AdapterSource) -> bool:
        if can_be_tried:
            raise AdapterRefusedError("it answers like the base")
        return False

    shelf = Shelf({"a": 10})
    made = residency(shelf, check=check)
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


def test_hits_and_misses_are_counted_once_a_sequence() -> None:
    made = residency(Shelf({"a": 10}))
    cold, warm = (
        EngineSequence(
            sequence_id=name, prompt_ids=(1,), sampling=SamplingParams(max_tokens=1, seed=0), adapter=source("a")
        )
        for name in ("cold", "warm")
    )
    assert made.is_new_miss(cold)
    assert not made.is_new_miss(cold)
    assert bring(made, "a")
    assert not made.is_new_miss(warm)
    made.note_joined(cold)
    made.note_joined(warm)
    assert (made.num_hits, made.num_misses) == (1, 1)


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
