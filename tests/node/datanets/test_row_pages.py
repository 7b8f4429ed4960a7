"""A page of rows reads only what it shows, and nothing that was not verified."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.contributors import CONTRIBUTED

from openledger_node.datanets import row_pages
from openledger_node.datanets.row_pages import FILES_MAX, RowPages
from openledger_node.datanets.rows import rows_digest, write_rows
from openledger_node.errors import NodeError
from openledger_protocol.datanet import Row, row_from_json

ROWS = tuple(replace(CONTRIBUTED[number % 3], prompt=f"Ask {number} — “Où ?”\u2028") for number in range(50))
DIGEST = rows_digest(ROWS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    write_rows(file, ROWS)
    return file


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows that are read."""
    found: list[Row] = []

    def parse(fields: object) -> Row:
        found.append(row_from_json(fields))
        return found[-1]

    monkeypatch.setattr(row_pages, "row_from_json", parse)
    return found


def test_a_page_reads_the_rows_that_it_shows(file: Path, parsed: list[Row]) -> None:
    pages = RowPages()
    verified = pages.verify(file, DIGEST)
    assert (len(verified.starts), verified.contributors) == (50, tuple(dict.fromkeys(r.contributor for r in ROWS)))
    assert len(parsed) == 50
    for numbers in (range(1, 4), range(48, 51), (7, 2, 33), ()):
        parsed.clear()
        assert pages.read(file, DIGEST, numbers) == [ROWS[number - 1] for number in numbers]
        assert len(parsed) == len(numbers)


def change(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"Ask 7 ", b"Ask 8 "))


def replace_file(file: Path) -> None:
    """With one of the same size and time."""
    found, other = file.stat(), file.with_name("other")
    other.write_bytes(file.read_bytes())
    change(other)
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize("damage", [change, replace_file, lambda file: file.write_bytes(file.read_bytes()[:-5])])
def test_a_file_that_has_changed_is_verified_again(file: Path, damage: Callable[[Path], object]) -> None:
    pages = RowPages()
    assert pages.read(file, DIGEST, [1]) == [ROWS[0]]
    damage(file)
    with pytest.raises(NodeError, match="is damaged: contribute these rows again, or restore the file"):
        pages.read(file, DIGEST, [1])
    write_rows(file, ROWS)
    assert pages.read(file, DIGEST, [1]) == [ROWS[0]]


def test_places_of_a_few_files_are_kept(tmp_path: Path, parsed: list[Row]) -> None:
    pages, files = RowPages(), [tmp_path / f"{number}.jsonl" for number in range(FILES_MAX + 1)]
    for each in files:
        write_rows(each, ROWS)
        pages.verify(each, DIGEST)
    parsed.clear()
    pages.verify(files[-1], DIGEST)
    assert parsed == []
    pages.verify(files[0], DIGEST)  # the one that was used longest ago
    assert len(parsed) == 50
