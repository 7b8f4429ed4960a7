"""Reviews that wait, counted for the page's navigation without reading each file each time."""

from support.contributors import CONTRIBUTED

from openledger_node.datanets.review import appeal
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.waiting import WaitingReviews
from openledger_node.home import Home
from openledger_protocol.datanet import Row


def test_batches_and_open_appeals_are_counted(home: Home, own: OwnDatanets) -> None:
    waiting = WaitingReviews(home)
    assert waiting.count() == 0
    own.approve("lake", own.contribute("lake", CONTRIBUTED, {}).digest, {})
    assert waiting.count() == 0
    row = CONTRIBUTED[0]
    copy = own.contribute("lake", [Row(prompt=row.prompt, completion=row.completion, contributor="eve")], {})
    assert waiting.count() == 1
    appeal(own, "lake", copy.digest, 1, "mine")
    assert waiting.count() == 2
    (home.datanets / "pond" / "own").mkdir(parents=True)
    (home.datanets / "pond" / "own" / "datanet.json").write_text("{")
    assert WaitingReviews(home).count() == 2, "a damaged Datanet counts as none"
