"""A Datanet that a home keeps: what is offered, taken in and published, and files that are whole or not at all."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
from support.indexes import ADA, BO

from openledger_node.datanets import own_files, store
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import make_version, write_version
from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home, take_lock
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

from .conftest import LAKE, publish

MISTYPED = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA9604F".lower().replace("d8da", "D8da")


def row(text: str, contributor: str = ADA) -> Row:
    return Row(prompt=f"What of {text}?", completion=f"It is {text}.", contributor=contributor)


FIRST, SECOND = (row("one"), row("two", "bo")), (row("three"),)


def take_in(own: OwnDatanets, *batches: tuple[Row, ...], accounts: dict[str, str] | None = None) -> None:
    for rows in batches:
        own.approve("lake", own.contribute("lake", rows, accounts or {}).digest, {})  # type: ignore[arg-type]


def test_rows_stand_in_the_order_in_which_their_batches_were_approved(own: OwnDatanets) -> None:
    digests = [own.contribute("lake", rows, {}).digest for rows in (FIRST, SECOND)]
    assert own.rows(own.get("lake")) == ()
    for digest in (digests[1], digests[0], digests[1]):
        own.approve("lake", digest[:12], {})
    assert own.get("lake").approved == (digests[1], digests[0])
    assert own.rows(own.get("lake")) == SECOND + FIRST


def test_versions_count_up_and_a_repeated_one_keeps_its_name(own: OwnDatanets) -> None:
    take_in(own, FIRST)
    assert [publish(own), publish(own)] == ["1", "1"]
    take_in(own, SECOND)
    assert [publish(own), publish(own)] == ["2", "2"]
    assert [each.batches for each in own.get("lake").versions] == [1, 2]
    assert own.version_rows("lake", "1")[1] == FIRST
    assert own.version_rows("lake")[1] == FIRST + SECOND


def test_anothers_number_is_passed_over_and_a_version_is_the_same_after_a_crash(own: OwnDatanets, home: Home) -> None:
    write_version(home, make_version("lake", "1", SECOND))
    take_in(own, FIRST, accounts={"bo": BO})
    version, *_ = own.next_version("lake")
    assert [each.account for each in version.rows] == [ADA, BO]
    write_version(home, version)
    assert own.get("lake").versions == ()
    assert publish(own) == "2"


@pytest.mark.parametrize(
    ("module", "step"), [(store, "write_rows"), (own_files, "write_private"), (store, "write_version")]
)
def test_a_crash_changes_nothing_or_all(
    own: OwnDatanets, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    class PowerCutError(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise PowerCutError

    take_in(own, FIRST)
    before = own.get("lake")
    with monkeypatch.context() as patch:
        patch.setattr(module, step, crash)
        with pytest.raises(PowerCutError):
            own.contribute("lake", SECOND, {}) if step != "write_version" else publish(own)
    assert own.get("lake") == before
    take_in(own, SECOND)
    assert publish(own) == "1"


def other_terms(own: OwnDatanets) -> object:
    assert own.create(LAKE) == LAKE
    return own.create(replace(LAKE, owner_ppm=1))


def offered_again(own: OwnDatanets) -> object:
    take_in(own, FIRST)
    return own.contribute("lake", FIRST, {})


def moved_account(own: OwnDatanets) -> object:
    take_in(own, FIRST, accounts={"bo": BO})
    publish(own)
    return own.contribute("lake", SECOND, {"bo": ADA})


def ambiguous(own: OwnDatanets) -> object:
    for rows in (FIRST, SECOND):
        own.contribute("lake", rows, {})
    return own.approve("lake", "0x", {})


def outrun(own: OwnDatanets) -> object:
    take_in(own, FIRST)
    planned, *counts = own.next_version("lake")
    take_in(own, SECOND)
    publish(own)
    return own.keep_version(planned, *counts)


def torn_batch(own: OwnDatanets) -> object:
    take_in(own, FIRST)
    [file] = own._folder("lake").glob("*.jsonl")
    file.write_text(file.read_text().replace("one", "eleven"))
    return own.next_version("lake")


def locked(own: OwnDatanets) -> object:
    with (own._home.datanets / own_files.LOCK_FILE).open("a") as lock:
        take_lock(lock)
        return own.contribute("lake", FIRST, {})


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (other_terms, NodeError, "your Datanet lake has other terms: licence"),
        (lambda own: own.contribute("pond", FIRST, {}), NodeError, "you have no Datanet 'pond'"),
        (offered_again, NodeError, "these rows are in lake already, as batch 0x"),
        (moved_account, NodeError, f"bo is paid at {BO} by a published version of lake"),
        (lambda own: own.contribute("lake", (row("x", MISTYPED),), {}), MalformedError, "was it mistyped?"),
        (ambiguous, NodeError, "2 batches of lake begin with '0x'"),
        (outrun, NodeError, "another version 1 of lake was published meanwhile"),
        (torn_batch, NodeError, "is damaged: contribute these rows again"),
        (locked, ConfigError, "another command is changing lake"),
    ],
)
def test_a_refusal_says_why(
    own: OwnDatanets, do: Callable[[OwnDatanets], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refusal:
        do(own)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("known", "wrong"),
    [("{", ""), ('"batches": []', '"batches": [7]'), ('"approved": []', f'"approved": ["0x{"0" * 64}"]')],
)
def test_a_torn_file_is_named(own: OwnDatanets, known: str, wrong: str) -> None:
    file = own._folder("lake") / own_files.DATANET_FILE
    assert known in file.read_text()
    file.write_text(file.read_text().replace(known, wrong))
    with pytest.raises(NodeError, match=r"datanet\.json is damaged"):
        own.all()


def test_a_withdrawn_row_is_in_no_later_version_and_no_training_and_never_comes_back(own: OwnDatanets) -> None:
    take_in(own, FIRST, SECOND)
    publish(own)
    for _ in range(2):
        own.withdraw("lake", [canonical_digest(FIRST[1])])
    assert len(own.get("lake").withdrawn) == 1
    assert own.version_rows("lake", "1")[1] == FIRST + SECOND
    with pytest.raises(NodeError, match=r"1 row of version 1 of lake were withdrawn.*datanet publish lake"):
        own.training_rows("lake")
    assert publish(own) == "2"
    assert own.training_rows("lake")[1] == own.version_rows("lake", "2")[1] == (FIRST[0], *SECOND)
    with pytest.raises(NodeError, match="of version 1 of lake were withdrawn"):
        own.training_rows("lake", "1")
    with pytest.raises(NodeError, match="1 row of this batch were withdrawn from lake"):
        own.contribute("lake", (*FIRST, *SECOND), {})


def test_a_batch_whose_contributor_gets_an_address_is_paid(own: OwnDatanets) -> None:
    batch = own.contribute("lake", FIRST, {})
    assert batch.unpaid == own.approve("lake", batch.digest, {}).unpaid == 1
    assert own.approve("lake", batch.digest, {"bo": BO}).unpaid == 0
    assert own.get("lake").batches[0].unpaid == 0
    other = own.contribute("lake", (row("four", "eve"),), {})
    assert own.approve("lake", other.digest, {"eve": BO}).unpaid == 0, "before it is approved, too"
