"""The nodes of the demo share what an engine has prepared, so that only the first of them prepares anything."""

from pathlib import Path

import pytest

from openledger_node.demo.town import Town

PREPARED = ("engine-1.so", "base.pack", "bases/base.pack")
OTHERS = ("adapters/mine.pack", "bases/.base.pack.1.partial", "verdict.json")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    root = tmp_path / "demo"
    root.mkdir()
    return Town(root=root, say=lambda _: None, opened=[])


def write(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return folder


def test_what_the_owners_engine_has_prepared_is_linked_and_nothing_else(town: Town, tmp_path: Path) -> None:
    town._fill_cache(write(tmp_path / "owner", *PREPARED, *OTHERS))
    linked = {file.relative_to(town._cache).as_posix() for file in town._cache.rglob("*") if file.is_symlink()}
    assert linked == set(PREPARED)
    assert all((town._cache / name).read_text() == name for name in PREPARED)


def test_an_owner_without_a_cache_leaves_the_demos_cache_empty(town: Town, tmp_path: Path) -> None:
    town._fill_cache(tmp_path / "nothing")
    assert list(town._cache.iterdir()) == []


@pytest.mark.parametrize("name", PREPARED)
def test_a_second_engine_starts_once_the_first_has_prepared_a_file(name: str, town: Town) -> None:
    write(town._cache, *OTHERS)
    town.a = type("Down", (), {"is_up": lambda _: False})()
    assert not town._is_engine_prepared()
    write(town._cache, name)
    assert town._is_engine_prepared()
