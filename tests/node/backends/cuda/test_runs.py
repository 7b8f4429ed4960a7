"""The book of places: whatever was loaded and unloaded, parts that are not larger than the free places find room."""

from hypothesis import given
from hypothesis import strategies as st

from openledger_node.backends.cuda.runs import Book, Move, Run

CAPACITY = 60


class World:
    """A book, and the numbers that lie at its places."""

    def __init__(self) -> None:
        self.book = Book(CAPACITY)
        self.places: list[tuple[int, int] | None] = [None] * CAPACITY  # adapter and part
        self.adapters: dict[int, list[Run]] = {}
        self.num_moved = 0

    def load(self, name: int, sizes: list[int]) -> None:
        runs, moves = self.book.take(sizes)
        for move in moves:
            self._move(move)
        for run in runs:
            for part, place in run.places:
                for at in range(place, place + sizes[part]):
                    self.places[at] = (name, part)
        self.adapters[name] = runs

    def unload(self, name: int) -> None:
        self.book.give_back(self.adapters.pop(name))

    def check(self, loaded: dict[int, list[int]]) -> None:
        """Every part lies at its place, whole, and nothing else is taken."""
        for name, sizes in loaded.items():
            found = {part: place for run in self.adapters[name] for part, place in run.places}
            assert sorted(found) == list(range(len(sizes)))
            for part, place in found.items():
                assert self.places[place : place + sizes[part]] == [(name, part)] * sizes[part]
        assert self.book.num_free == CAPACITY - sum(map(sum, loaded.values()))
        assert sum(gap.size for gap in self.book.gaps()) == self.book.num_free

    def _move(self, move: Move) -> None:
        size, target = move.run.size, move.run.start
        assert target < move.source
        self.places[target : target + size] = self.places[move.source : move.source + size]
        self.num_moved += size


SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@given(st.lists(st.tuples(SIZES, st.integers(0, 10)), max_size=40))
def test_parts_that_are_not_larger_than_the_free_places_always_find_room(steps: list[tuple[list[int], int]]) -> None:
    world, loaded = World(), {}
    for name, (sizes, leaving) in enumerate(steps):
        while sum(sizes) > world.book.num_free and loaded:
            oldest = sorted(loaded)[leaving % len(loaded)]
            world.unload(oldest)
            del loaded[oldest]
        if sum(sizes) > CAPACITY:
            continue
        world.load(name, sizes)
        loaded[name] = sizes
        world.check(loaded)


def test_only_the_runs_between_the_nearest_gaps_move() -> None:
    world = World()
    for name, size in enumerate([20, 4, 10, 3, 2, 21]):
        world.load(name, [size])
    for name in (1, 3, 5):
        world.unload(name)
    world.load(8, [24])  # gaps of 4, 3 and 21
    assert world.num_moved == 2
    world.check({0: [20], 2: [10], 4: [2], 8: [24]})


def test_an_adapter_lies_in_one_run_where_a_gap_holds_it_whole() -> None:
    book = Book(CAPACITY)
    first, _ = book.take([10, 10])
    book.take([5])
    book.give_back(first)
    (run,), moves = book.take([7, 8])
    assert (run.start, run.size, moves) == (0, 15, [])
