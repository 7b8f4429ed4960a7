"""Rows as they travel: read one by one, whoever wrote them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.contributors import ACCOUNTS, ADA, BEN, CONTRIBUTED

from openledger_node.datanets import held
from openledger_node.datanets.held import check_rows, file_digest, read_canonical, write_canonical
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.version import make_version
from openledger_protocol.codec import canonical_digest, canonical_json, to_plain
from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX, Row
from openledger_protocol.errors import MalformedError

TEXT = canonical_json(list(CONTRIBUTED)).decode()


def test_what_travels_has_the_digest_that_is_on_the_chain(tmp_path: Path) -> None:
    file = tmp_path / "lake" / "rows"
    write_canonical(file, CONTRIBUTED)
    assert file.read_text() == TEXT
    assert file_digest(file) == rows_digest(CONTRIBUTED)
    assert list(read_canonical(file)) == [(row, canonical_digest(row)) for row in CONTRIBUTED]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_gets_its_room_back(tmp_path: Path) -> None:
    def rows() -> Iterator[Row]:
        yield CONTRIBUTED[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_canonical(tmp_path / "rows", rows())
    assert list(tmp_path.iterdir()) == []


def test_rows_longer_than_one_piece_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tuple(
        Row(prompt=letter * ROW_TEXT_LENGTH_MAX, completion=f"{number}, ü\n]", contributor="ada")
        for number, letter in enumerate(("a", "\x01", "€", "\U0001f600", '"'))
    )
    monkeypatch.setattr(held, "READ_CHARACTERS", 10_007)
    write_canonical(tmp_path / "rows", long)
    assert [row for row, _ in read_canonical(tmp_path / "rows")] == list(long)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[1]",
        TEXT[:-1],
        TEXT + " ",
        TEXT.replace("},{", "}{"),
        json.dumps(to_plain(list(CONTRIBUTED))),
        TEXT.replace("harbour", "\\u0068arbour"),
        TEXT.replace('"prompt"', '"later":1,"prompt"'),
        "[" * 100_000,
        '["' + "a" * 10_000_000 + '"]',
        "\ufeff" + TEXT,
    ],
)
def test_what_is_no_list_of_rows_in_canonical_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows").write_text(content, newline="")
    with pytest.raises(MalformedError):
        list(read_canonical(tmp_path / "rows"))


@pytest.mark.parametrize(
    ("rows", "accounts", "why"),
    [
        (CONTRIBUTED[:2], ACCOUNTS, "its version does not name row 3"),
        ((*CONTRIBUTED, Row(prompt="p", completion="c", contributor="x")), ACCOUNTS, "names 4 rows, and there are 3"),
        (CONTRIBUTED[::-1], ACCOUNTS, "its version does not name row 1"),
        (CONTRIBUTED, {**ACCOUNTS, ADA: BEN}, "its version pays row 1 to another account"),
    ],
)
def test_rows_and_their_version_must_agree(tmp_path: Path, rows: tuple[Row, ...], accounts: object, why: str) -> None:
    write_canonical(tmp_path / "rows", CONTRIBUTED)
    check_rows(tmp_path / "rows", make_version("lake", "1", CONTRIBUTED, ACCOUNTS))
    with pytest.raises(MalformedError, match=why):
        check_rows(tmp_path / "rows", make_version("lake", "1", rows, accounts))  # type: ignore[arg-type]
