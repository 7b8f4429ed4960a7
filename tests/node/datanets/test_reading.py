"""Files as people have them: one object over several lines, and texts with characters that take no space."""

import io
import json
from typing import Any

import pytest

from openledger_node.datanets.reading import FileReport, ReadOptions, read_file
from openledger_node.datanets.screening import without_zero_width

GOOD = {"prompt": "Who steers it?", "completion": "Odile does."}
MORE = {"prompt": "Who bakes?", "completion": "Petra does."}


def read(name: str, content: str | bytes) -> tuple[FileReport, list[dict[str, str]]]:
    rows: list[dict[str, str]] = []
    body = content if isinstance(content, bytes) else content.encode()
    return read_file(io.BytesIO(body), ReadOptions(name=name), rows.append), rows


def test_a_json_file_may_hold_objects_over_several_lines_and_one_that_is_cut_off_is_reported() -> None:
    lines = json.dumps(GOOD, indent=2)
    for content in (lines, json.dumps([GOOD]), lines.encode("utf-16")):
        report, rows = read("a.json", content)
        assert (rows, report.num_flaws) == ([GOOD], 0)
    assert read("a.json", f"{lines}\n{json.dumps(MORE, indent=2)}")[1] == [GOOD, MORE]
    report, rows = read("a.json", lines[:-3])
    assert (rows, report.num_flaws) == ([], 1)
    assert "the file ends here" in report.flaws[0]["reason"]


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        (("question", "answer"), "question and answer"),
        (("q", "a"), "question and answer"),
        (("query", "response"), "query and response"),
    ],
)
def test_the_forms_of_the_documentation_are_read(fields: tuple[str, str], form: str) -> None:
    content: dict[str, Any] = dict(zip(fields, GOOD.values(), strict=True))
    report, rows = read("a.jsonl", json.dumps(content))
    assert (rows, dict(report.forms)) == ([GOOD], {form: 1})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("fer\u200bry", "ferry"),
        ("fer\u00adry", "ferry"),
        ("a\u200db", "ab"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_characters_without_width_are_removed_where_no_script_needs_them(text: str, left: str) -> None:
    assert without_zero_width(text) == left


def test_their_removal_is_reported_and_rows_that_look_the_same_are_the_same() -> None:
    hidden = {**GOOD, "completion": "Odi\u200ble do\u200bes."}
    report, rows = read("a.jsonl", f"{json.dumps(GOOD)}\n{json.dumps(hidden)}\n")
    assert rows == [GOOD]
    assert report.notes == ["2 characters without width were removed from its texts"]
    assert report.flaws[0]["reason"] == "it is the same as line 1"
