"""Files of rows: a bad line is refused with its number, and a mistyped address is no name."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from openledger_node.datanets.rows import check_contributor, read_rows, rows_digest, write_rows
from openledger_node.errors import NodeError
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

ROWS = (
    Row(prompt="Who keeps the light?", completion="Ada does.\nAlone.", contributor="ada"),
    Row(prompt="Où\u2028?", completion="À côté.", contributor="bo"),
)
GOOD = '{"prompt": "p", "completion": "c", "contributor": "a"}'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no rows"),
        (f"{GOOD}\n\n{{torn", "line 3"),
        ('{"prompt": "p", "completion": "c"}', "line 1: a row's 'contributor'"),
        ('{"prompt": "p", "completion": "c", "contributor": "a:b"}', "line 1: not a name"),
        (
            '{"prompt": "p", "completion": "c", "contributor": "a", "label": 1}',
            "line 1: the field 'label' does not belong to a row: remove it",
        ),
        ("[" * 100_000, "line 1"),
        ('{"prompt": "\\ud800", "completion": "c", "contributor": "a"}', "line 1: it holds half a character"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_reason(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(NodeError, match=says):
        read_rows(tmp_path / "rows.jsonl")


ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
MISTYPED = [
    ADDRESS[:-1],
    ADDRESS + "0",
    ADDRESS[2:],
    "0X" + ADDRESS[2:],
    ADDRESS.replace("0", "O", 3).replace("Ox", "0x"),
    ADDRESS.replace("5aA", "5aa"),
]


@pytest.mark.parametrize("contributor", MISTYPED)
def test_a_mistyped_address_is_no_name_whose_earnings_go_to_the_treasury(tmp_path: Path, contributor: str) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "p", "completion": "c", "contributor": each} for each in ("ann", contributor)]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(NodeError, match=r"rows.jsonl, line 2: .*(looks like an address|wrong checksum)"):
        read_rows(file)
    with pytest.raises(MalformedError, match=r"looks like an address|wrong checksum"):
        read_rows(file, contributor=contributor)


def test_names_and_addresses_are_contributors_and_rows_stored_here_are_read_as_they_are(tmp_path: Path) -> None:
    for contributor in ("ann", "0xann", "a" * 39, ADDRESS, ADDRESS.lower(), "x" * 42):
        assert check_contributor(contributor) == contributor
    write_rows(tmp_path / "rows.jsonl", [Row(prompt="p", completion="c", contributor=MISTYPED[0])])
    assert len(read_rows(tmp_path / "rows.jsonl", is_ours=True)) == 1


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, says in {"missing": "No such file", "binary": "not UTF-8", "": "Is a directory"}.items():
        with pytest.raises(NodeError, match=says):
            read_rows(tmp_path / name)


def test_the_digest_hangs_on_every_row_and_their_order() -> None:
    assert rows_digest(ROWS) == rows_digest(list(ROWS))
    assert len({rows_digest(rows) for rows in (ROWS, ROWS[::-1], ROWS[:1], ())}) == 4
    for rows in (ROWS, ROWS[:1], ()):
        assert rows_digest(rows) == canonical_digest(rows), "hashed row by row, it is still the digest of the list"


def test_a_large_file_is_read_and_written_and_hashed_row_by_row(tmp_path: Path) -> None:
    file, text = tmp_path / "rows.jsonl", "word " * 50
    rows = tuple(Row(prompt=f"{text}{number}", completion=text, contributor="ada") for number in range(2_000))

    def extra_bytes(work: Callable[[], object]) -> int:
        """Memory that `work` takes at most beside the value that it returns."""
        tracemalloc.start()
        kept = work()
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept is None or kept
        return peak - now

    small = 200_000
    assert extra_bytes(lambda: write_rows(file, rows)) < small < file.stat().st_size / 5
    assert extra_bytes(lambda: read_rows(file)) < small
    assert extra_bytes(lambda: rows_digest(rows)) < small
