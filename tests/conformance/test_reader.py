"""What every reader must do, run over every plug."""

import io
import json
from pathlib import Path

import pytest

from openledger_node.datanets.files import read_into
from openledger_node.datanets.reader import Flaw, Reader, Record, UnreadableFileError
from openledger_node.datanets.reading import ReadOptions
from openledger_node.plugs import load_plug, plug_names

GOOD: dict[str, tuple[str, bytes]] = {
    "jsonl": ("a.jsonl", b'{"prompt": "What?", "completion": "It is cold in spring."}\n'),
    "json": ("a.json", b'[{"prompt": "What?", "completion": "It is cold in spring."}]'),
    "table": ("a.csv", b"prompt,completion\nWhat?,It is cold in spring.\n"),
    "markdown": ("a.md", b"# The lake\n\nIt is cold in spring.\n"),
    "plain_text": ("a.txt", b"The lake\nIt is cold in spring.\n"),
}
"""A file of each format that gives one row, whose completion ends with the same words."""

CUTS = 24


@pytest.fixture(params=plug_names("reader"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(name: str) -> Reader:
    opened: Reader = load_plug("reader", name)()
    return opened


def test_places_count_from_one_in_the_unit_of_the_reader(name: str, reader: Reader) -> None:
    pieces = list(reader.read(io.BytesIO(GOOD[name][1]), None))
    assert reader.unit in {"line", "item"}
    assert all(piece.place >= 1 for piece in pieces)
    assert any(isinstance(piece, Record) for piece in pieces)


def test_a_file_that_is_cut_off_anywhere_is_read_in_part_or_refused(name: str, reader: Reader) -> None:
    content = GOOD[name][1]
    for end in range(0, len(content), max(1, len(content) // CUTS)):
        try:
            pieces = list(reader.read(io.BytesIO(content[:end]), None))
        except UnreadableFileError:
            continue
        assert all(isinstance(piece, Record | Flaw) for piece in pieces)


def test_a_good_file_is_read_in_the_process_that_can_open_nothing(name: str, tmp_path: Path) -> None:
    file, rows = tmp_path / GOOD[name][0], tmp_path / "rows"
    file.write_bytes(GOOD[name][1])
    report = read_into(file, rows, ReadOptions(name=file.name))
    assert (report["format"], report["rows"], report["flaws"]) == (name, 1, [])
    (line,) = rows.read_text().splitlines()
    assert json.loads(line)["completion"].endswith("It is cold in spring.")
