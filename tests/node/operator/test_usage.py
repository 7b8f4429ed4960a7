"""What the node did in the last day and week, and the names of the Datanets that its adapters learned from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.answered import completion
from support.rows import append_event, job_of

from openledger_node.home import Home
from openledger_node.ledger.jobs import JobState
from openledger_node.ledger.ledger import Ledger
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.operator.datanet_names import datanet_names, datanets_to_plain
from openledger_node.operator.usage import REST, Usage, percent_down, read_usage, usage_of
from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    AdapterId,
    Address,
    DatanetId,
    Digest,
    RequestId,
    Wei,
)

NOW_NS = 1_800_000_000 * 10**9
HOUR_NS = 3_600 * 10**9


def add(
    ledger: Ledger, hours_ago: int, *, tokens_out: int | None = None, state: JobState = "running", adapter: str = ""
) -> None:
    """A job of some hours ago, answered where it has tokens; its id is its age."""
    request_id = RequestId(f"r{hours_ago}")
    job = job_of(
        request_id,
        received_ns=NOW_NS - hours_ago * HOUR_NS,
        adapter_id=AdapterId("0xaa") if adapter else None,
        adapter_name=adapter or None,
        state=state,
    )
    ledger.jobs.start(job)
    if tokens_out is not None:
        answer = completion(request_id=request_id, adapter_id=job.adapter_id, tokens_in=1, tokens_out=tokens_out)
        ledger.jobs.complete(answer, first_token_ns=None, ended_ns=job.received_ns + 1)


def test_a_day_and_a_week_are_summed_over_all_their_jobs(ledger: Ledger) -> None:
    add(ledger, 1, tokens_out=30, adapter="harbour")
    add(ledger, 2, tokens_out=15)
    add(ledger, 3)
    add(ledger, 4, state="failed")
    add(ledger, 30, state="interrupted")
    add(ledger, 31, tokens_out=55, adapter="harbour")
    add(ledger, 8 * 24, tokens_out=1_000)
    usage = read_usage(ledger, now_ns=NOW_NS)
    assert usage["day"] == {
        "jobs": 4,
        "ended": 3,
        "answered": 2,
        "failed": 1,
        "interrupted": 0,
        "answered_percent": 66.6,
        "tokens_out": 45,
        "adapter_tokens_out": 30,
        "adapter_percent": 66.6,
    }
    assert (usage["week"]["jobs"], usage["week"]["ended"], usage["week"]["interrupted"]) == (6, 5, 1)
    assert (usage["week"]["tokens_out"], usage["week"]["adapter_tokens_out"]) == (100, 85)


def test_where_nothing_was_asked_there_is_no_percentage(ledger: Ledger) -> None:
    for usage in read_usage(ledger, now_ns=NOW_NS).values():
        assert (usage.pop("answered_percent"), usage.pop("adapter_percent")) == (None, None)
        assert set(usage.values()) == {0}


@pytest.mark.parametrize(
    ("part", "whole", "percent"),
    [(9_996, 10_000, 99.9), (99_999, 100_000, 99.9), (7, 7, 100.0), (0, 7, 0.0), (2, 3, 66.6), (0, 0, None)],
)
def test_a_percentage_is_cut_and_never_rounded_up(part: int, whole: int, percent: float | None) -> None:
    assert percent_down(part, whole) == percent


def test_sums_are_made_anew_when_they_have_rested_for_a_multiple_of_what_they_took(ledger: Ledger) -> None:
    # Each sum takes 0.1 s by this clock: asked for, begun, ended.
    moments = iter([0.0, 0.1, 0.1 + 0.1 * REST - 0.01, 0.1 + 0.1 * REST, 10.0])
    desk = Usage(ledger, now_ns=lambda: NOW_NS, elapsed_s=lambda: next(moments))
    assert desk.read()["day"]["jobs"] == 0
    add(ledger, 1)
    assert desk.read()["day"]["jobs"] == 0
    assert desk.read()["day"]["jobs"] == 1


def test_calls_of_an_adapter_are_counted_by_hour_for_a_day_and_what_was_paid_is_summed() -> None:
    job = job_of("0x01", received_ns=NOW_NS - 1, adapter_id=AdapterId("0xaa"), adapter_name="lake", state="completed")
    early = replace(job, request_id=RequestId("0x02"), received_ns=NOW_NS - 23 * HOUR_NS - 1)
    bare = replace(job, request_id=RequestId("0x03"), adapter_id=None)
    old = replace(job, request_id=RequestId("0x04"), received_ns=NOW_NS - 25 * HOUR_NS)
    paid = {RequestId("0x01"): (Digest("0x0a"), Wei(5)), RequestId("0x02"): (Digest("0x0b"), Wei(7))}
    found = usage_of([job, early, bare, old], paid, now_ns=NOW_NS)
    assert found.keys() == {"0xaa"}
    assert (found["0xaa"]["calls"], found["0xaa"]["earned_wei"]) == (2, "12")
    assert [n for n, calls in enumerate(found["0xaa"]["by_hour"]) if calls] == [0, 23]


# ---- names of the Datanets that adapters learned from: those on this machine, and those on the chain


ADA, BEN = Address("0x" + "0a" * 20), Address("0x" + "0b" * 20)


def learned_from(folder: Path, home: Home, *ids: DatanetId, owner: Address | None) -> Adapter:
    adapter = add_adapter(home, folder, FAKE_BASE)
    datanets = tuple(
        DatanetReference(id=id_, version="v1", rows_root=ZERO_DIGEST, weight_ppm=PPM // len(ids)) for id_ in ids
    )
    return replace(adapter, manifest=replace(adapter.manifest, datanets=datanets, owner=owner))


def register(ledger: Ledger, id_: DatanetId, name: str) -> None:
    append_event(ledger, "DatanetCreated", {"id": id_, "creator": BEN, "name": name})


@pytest.mark.parametrize("owner", [ADA, None], ids=["owner", "before a wallet"])
def test_an_own_datanet_is_named_offline(home: Home, make_adapter_folder: Any, owner: Address | None) -> None:
    (home.datanets / "lake").mkdir(parents=True)
    lake = datanet_id(owner or ZERO_ADDRESS, "lake")
    adapter = learned_from(make_adapter_folder(), home, lake, owner=owner)
    names = datanet_names(home, None, [adapter])
    assert names == {lake: "lake"}
    assert datanets_to_plain(adapter.manifest, names) == [
        {"id": lake, "name": "lake", "version": "v1", "weight_ppm": PPM}
    ]


def test_a_foreign_datanet_has_the_name_of_the_chain(home: Home, ledger: Ledger, make_adapter_folder: Any) -> None:
    (home.datanets / "lake").mkdir(parents=True)  # the owner's own of that name is another one
    theirs, unknown = datanet_id(BEN, "lake"), datanet_id(BEN, "forest")
    adapter = learned_from(make_adapter_folder(), home, theirs, unknown, owner=ADA)
    register(ledger, theirs, "lake\n\x1b[2J")
    names = datanet_names(home, ledger.events, [adapter])
    assert list(names) == [theirs]
    assert names[theirs].startswith("lake\\n"), "a stranger's name stays on one line"
    assert "\x1b" not in names[theirs]
    plain = datanets_to_plain(adapter.manifest, names)
    assert plain is not None
    assert [each["name"] for each in plain] == [names[theirs], None]
    assert datanets_to_plain(replace(adapter.manifest, datanets=None), names) is None
    harbour = datanet_id(ZERO_ADDRESS, "harbour")
    sample = replace(adapter.manifest.datanets[0], id=harbour)  # type: ignore[index]
    shipped = replace(adapter, manifest=replace(adapter.manifest, datanets=(sample,), owner=None))
    assert datanet_names(home, None, [shipped]) == {harbour: "harbour"}
