"""Crafted bad files are refused or cleaned with a reason, in bounded memory and time."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from node.datanets.bad_files import BAD_FILES, MIB, BadFile

from openledger_node.datanets.files import read_into
from openledger_node.datanets.reader import UnreadableFileError
from openledger_node.datanets.reading import ReadOptions, read_file

PEAK_BYTES_MAX = 256 * MIB
HEAVY = [each for each in BAD_FILES if each.is_heavy]


def check_outcome(bad: BadFile, report: dict[str, Any], rows: str) -> None:
    assert report["rows"] == bad.rows == len(rows.splitlines())
    found = [(each["place"], each["reason"]) for each in report["flaws"]]
    assert [place for place, _ in found] == [place for place, _ in bad.flaws], found
    for (_, reason), (_, words) in zip(found, bad.flaws, strict=True):
        assert words in reason
    assert report["notes"] == []
    assert not [text for text in bad.absent if text in rows + json.dumps(report)]


@pytest.mark.parametrize("bad", [each for each in BAD_FILES if not each.is_heavy], ids=lambda bad: bad.name)
def test_a_bad_file_is_refused_or_cleaned_with_a_reason(bad: BadFile) -> None:
    file, rows = io.BytesIO(b"".join(bad.write())), list[dict[str, str]]()
    if bad.refused is not None:
        with pytest.raises(UnreadableFileError) as refusal:
            read_file(file, ReadOptions(name=bad.name), rows.append)
        assert bad.refused in str(refusal.value)
        return
    report = read_file(file, ReadOptions(name=bad.name), rows.append)
    check_outcome(bad, report.to_plain(), "".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.process
@pytest.mark.parametrize("bad", HEAVY, ids=lambda bad: bad.name)
def test_a_heavy_file_is_read_in_a_process_with_bounded_memory(bad: BadFile, tmp_path: Path) -> None:
    file, rows = tmp_path / bad.name, tmp_path / "rows"
    with file.open("wb") as target:
        target.writelines(bad.write())
    report = read_into(file, rows, ReadOptions(name=bad.name))
    assert report["peak_bytes"] is None or report["peak_bytes"] < PEAK_BYTES_MAX
    check_outcome(bad, report, rows.read_text())


@pytest.mark.process
def test_columns_that_are_left_out_are_bounded(tmp_path: Path) -> None:
    content = json.dumps({"prompt": "Who?", "completion": "Bo.", **{f"k{number}": "" for number in range(60_000)}})
    (tmp_path / "wide.jsonl").write_text(content)
    report = read_into(tmp_path / "wide.jsonl", tmp_path / "rows", ReadOptions(name="wide.jsonl"))
    assert (report["rows"], len(report["unused_columns"])) == (1, 21)
    assert report["unused_columns"][-1] == "59980 more"


@pytest.mark.process
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for name, words in (("pipe.txt", "it is no file"), ("none.txt", "No such file"), ("", "it is no file")):
        with pytest.raises(UnreadableFileError, match=words):
            read_into(tmp_path / name, tmp_path / "rows", ReadOptions(name="a.txt"))
