"""Files that the page has uploaded: kept until they are taken, discarded, or pushed out."""

from pathlib import Path

import pytest
from support.contributors import ADA, TERMS

from openledger_node.datanets.drafts import DRAFTS_MAX, FOLDER, FileDrafts
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_process import carry_out
from openledger_node.datanets.reading import ReadOptions
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home

LINE = b'{"prompt": "Who?", "completion": "Bo."}'


def fake_read(file: Path, rows_file: Path, options: ReadOptions) -> dict[str, object]:
    """Read as the process does, without the process."""
    rows_file.write_bytes(file.read_bytes())
    return {"rows": 1, "without_contributor": 1, "name": options.name}


@pytest.fixture
def drafts(home: Home, monkeypatch: pytest.MonkeyPatch) -> FileDrafts:
    monkeypatch.setattr("openledger_node.datanets.drafts.read_into", fake_read)
    OwnDatanets(home).create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    return FileDrafts(home, carry_out)


def upload(drafts: FileDrafts) -> str:
    name, file = drafts.begin()
    file.write_bytes(LINE)
    return str(drafts.read(name, ReadOptions(name="a.jsonl"))["draft"])


def left(home: Home) -> int:
    return len(list((home.root / FOLDER).iterdir()))


def test_a_draft_stays_until_it_can_be_taken_and_is_taken_once(home: Home, drafts: FileDrafts) -> None:
    name = upload(drafts)
    with pytest.raises(NodeError, match="without a contributor"):
        drafts.take(name, "lake", None)
    with pytest.raises(NodeError, match="you have no Datanet 'pond'"):
        drafts.take(name, "pond", "odile")
    assert left(home) == 1
    assert drafts.take(name, "lake", "odile")["rows"] == 1
    assert left(home) == 0
    with pytest.raises(NodeError, match="drop the file once more"):
        drafts.take(name, "lake", "odile")


def test_a_damaged_signed_batch_is_refused_by_its_own_name(home: Home, drafts: FileDrafts) -> None:
    name, file = drafts.begin()
    file.write_text('{"schema": "openledger.signed_batch/1", "offer": {}, "rows": []}')
    with pytest.raises(NodeError, match=r"^a.csv.signed.json can't be taken: an offer must have the fields"):
        drafts.read(name, ReadOptions(name="a.csv.signed.json"))
    assert left(home) == 0


def test_the_oldest_drafts_are_pushed_out_and_none_outlives_the_node(home: Home, drafts: FileDrafts) -> None:
    names = [upload(drafts) for _ in range(DRAFTS_MAX + 1)]
    assert left(home) == DRAFTS_MAX
    with pytest.raises(NodeError):
        drafts.take(names[0], "lake", "odile")
    FileDrafts(home)
    assert not (home.root / FOLDER).exists()


def test_a_draft_discarded_while_it_is_read_is_gone(drafts: FileDrafts, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = drafts.begin()
    file.write_bytes(LINE)

    def read_and_lose(file: Path, rows_file: Path, options: ReadOptions) -> dict[str, object]:
        report = fake_read(file, rows_file, options)
        drafts.discard(name)
        return report

    monkeypatch.setattr("openledger_node.datanets.drafts.read_into", read_and_lose)
    with pytest.raises(NodeError, match="discarded while it was read"):
        drafts.read(name, ReadOptions(name="a.jsonl"))
    with pytest.raises(NodeError, match="gone"):
        drafts.take(name, "lake", "odile")


def test_a_name_from_outside_deletes_nothing(home: Home, drafts: FileDrafts) -> None:
    upload(drafts)
    for name in ("", ".", "..", "../keys"):
        drafts.discard(name)
    assert left(home) == 1
