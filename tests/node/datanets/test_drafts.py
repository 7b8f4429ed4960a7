"""Files that the page has uploaded: kept until they are taken, discarded, or pushed out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.contributors import ACCOUNTS, ADA, CONTRIBUTED, TERMS

from openledger_node.api.guard import BODY_S, UPLOAD_S, Guard
from openledger_node.datanets.curated import propose
from openledger_node.datanets.drafts import DRAFTS_MAX, FOLDER, FileDrafts
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_process import carry_out
from openledger_node.datanets.proposals import write_proposal
from openledger_node.datanets.reading import ReadOptions
from openledger_node.datanets.signed import DatanetPlace
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.primitives import DatanetId

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


def test_a_draft_is_taken_once(home: Home, drafts: FileDrafts) -> None:
    name = upload(drafts)
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


def test_a_draft_that_cannot_be_taken_stays(home: Home, drafts: FileDrafts) -> None:
    name = upload(drafts)
    with pytest.raises(NodeError, match="without a contributor"):
        drafts.take(name, "lake", None)
    with pytest.raises(NodeError, match="you have no Datanet 'pond'"):
        drafts.take(name, "pond", "odile")
    assert left(home) == 1


def test_the_oldest_drafts_are_pushed_out_and_none_outlives_the_node(home: Home, drafts: FileDrafts) -> None:
    names = [upload(drafts) for _ in range(DRAFTS_MAX + 1)]
    assert left(home) == DRAFTS_MAX
    with pytest.raises(NodeError):
        drafts.take(names[0], "lake", "odile")
    FileDrafts(home)
    assert not (home.root / FOLDER).exists()


def test_a_draft_that_is_discarded_while_it_is_read_is_not_kept(
    drafts: FileDrafts, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_rows_of_a_proposal_are_compared_with_its_roots_once(home: Home, tmp_path: Path) -> None:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    rows = [replace(CONTRIBUTED[0], prompt=f"What does keeper {number} keep?") for number in range(1, 26)]
    own.contribute("lake", rows, ACCOUNTS)
    place = DatanetPlace(chain_id=1, contract=ADA, datanet_id=DatanetId("0x" + "1" * 64))
    proposal = propose(home, "lake", (), place, ())
    orders: list[str] = []

    def run(order: dict[str, Any]) -> dict[str, Any]:
        orders.append(order["do"])
        return carry_out(order)

    drafts = FileDrafts(home, run)
    name, file = drafts.begin()
    write_proposal(file, proposal)
    drafts.read(name, ReadOptions(name="lake.json"))
    pages = [drafts.show_proposal(name, offset) for offset in (0, 10, 20, 30, -5)]
    numbers = [[row["row"] for row in page["shown"]] for page in pages]
    assert numbers == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26)), [], list(range(1, 11))]
    assert [page["offset"] for page in pages] == [0, 10, 20, 30, 0]
    assert pages[2]["shown"][-1]["prompt"] == "What does keeper 25 keep?"
    assert (pages[0]["num_new"], pages[0]["rows_root"]) == (25, proposal.rows_root)
    assert orders == ["show"]
    drafts.file(name).with_name("rows.jsonl").write_text("{}")
    with pytest.raises(NodeError, match="is damaged"):
        drafts.show_proposal(name, 0)
    drafts.discard(name)
    with pytest.raises(NodeError, match="drop the file once more"):
        drafts.show_proposal(name, 0)


@pytest.mark.parametrize("name", ["", ".", "..", "../keys"])
def test_a_name_from_outside_deletes_nothing(home: Home, drafts: FileDrafts, name: str) -> None:
    upload(drafts)
    drafts.discard(name)
    assert left(home) == 1
    assert home.root.exists()


def test_an_upload_has_a_bound_of_its_own() -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError("no request is made")

    guard = Guard(nothing, key="key", body_bytes_max=5, uploads={"/operator/files": 10})
    assert [guard._bytes_max({"path": path}) for path in ("/operator/files", "/v1/models")] == [10, 5]
    assert [guard._seconds_max({"path": path}) for path in ("/operator/files", "/v1/models")] == [UPLOAD_S, BODY_S]
