from pathlib import Path

import pytest

from openledger_node.datanets.rows import read_rows, rows_digest, write_rows
from openledger_node.errors import NodeError
from openledger_protocol.datanet import Row

ROWS = (
    Row(prompt="Who keeps the light?", completion="Ada does.\nAlone.", contributor="ada"),
    Row(prompt="Où\u2028?", completion="À côté.", contributor="bo"),
)
GOOD = '{"prompt": "p", "completion": "c", "contributor": "a"}'


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "new" / "rows.jsonl", ROWS)
    assert read_rows(tmp_path / "new" / "rows.jsonl") == ROWS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no rows"),
        (f"{GOOD}\n\n{{torn", "line 3"),
        (f"{GOOD}\n[]", "line 2: a row must be a JSON object"),
        ('{"prompt": "p", "completion": "c"}', "line 1: a row's 'contributor'"),
        ('{"prompt": " ", "completion": "c", "contributor": "a"}', "line 1: a row's 'prompt'"),
        ('{"prompt": "p", "completion": "c", "contributor": "a:b"}', "line 1: not a name"),
        ('{"prompt": "p", "completion": "c", "contributor": "a", "label": 1}', "line 1: a row has no field 'label'"),
        ("[" * 100_000, "line 1"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_reason(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(NodeError, match=says):
        read_rows(tmp_path / "rows.jsonl")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, says in {"missing": "No such file", "binary": "not UTF-8", "": "Is a directory"}.items():
        with pytest.raises(NodeError, match=says):
            read_rows(tmp_path / name)


def test_rows_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeError, match="cannot write rows"):
        write_rows(tmp_path / "file" / "rows.jsonl", ROWS)


def test_the_digest_hangs_on_every_row_and_their_order() -> None:
    assert rows_digest(ROWS) == rows_digest(list(ROWS))
    assert len({rows_digest(rows) for rows in (ROWS, ROWS[::-1], ROWS[:1], ())}) == 4
