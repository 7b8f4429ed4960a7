"""Demand in words: what would have won, the command that changes it, and no command by a stranger's word."""

from dataclasses import replace

import pytest
from support.market_world.terms import BASE, word

from openledger_node.market.overview import MarketView, Priced
from openledger_node.market.unserved import CallKind, Cause, Unserved, Winning
from openledger_node.operator.missed_calls import NodeFacts, best_change, missed_calls, standing_to_plain
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest, Wei

LAKE, POEMS = AdapterId(word("lake")), AdapterId(word("poems"))
GEMMA = Digest(word("gemma"))
MILLI = 10**15  # wei in a thousandth of an OPEN
NODE = NodeFacts(
    now_s=1_800_000_000.0,
    base=BASE,
    base_name="fake",
    context_max=2_048,
    queue_max=256,
    registered={LAKE, POEMS},
    bases={GEMMA: "gemma 3"},
)


def terms(milli: int) -> Terms:
    return Terms(price_in_wei=Wei(milli * MILLI), price_out_wei=Wei(0))


VIEW = MarketView(
    num_peers=4,
    num_serving=2,
    was_dialled=True,
    addresses=(),
    calls=(),
    now_s=1_000.0,
    priced=(
        Priced(name="fake", adapter=BASE_ONLY, own=terms(5), others=(terms(3), terms(5))),
        Priced(name="poems", adapter=POEMS, own=terms(5), others=(terms(3),)),
    ),
    offered={LAKE: "lake@1a2b3c4d"},
)


def unserved(cause: Cause, adapter: AdapterId = LAKE, *, base: Digest = BASE, **changes: object) -> Unserved:
    row = Unserved(
        kind=CallKind(base=base, adapter=adapter, cause=cause),
        is_proven=True,
        calls=12,
        callers=3,
        since_s=400.0,
        last_s=900.0,
        tokens_in_max=3_000,
        tokens_out_max=512,
        was_cold=False,
        winning=None,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def won(milli: int) -> Winning:
    return Winning(price_wei=milli * MILLI, ttft_ms=40, tokens_per_s=90)


@pytest.mark.parametrize(
    ("row", "wins", "cli"),
    [
        pytest.param(unserved("lacking"), "this adapter on the disk", "adapters pull lake@1a2b3c4d", id="pull"),
        pytest.param(
            unserved("base", base=GEMMA, adapter=BASE_ONLY), "this base", "models use 'gemma 3'", id="base here"
        ),
        pytest.param(unserved("base", base=Digest(word("phi"))), "a base that is not here", None, id="base not here"),
        pytest.param(
            unserved("context"),
            "a context of 4,096 tokens, if the base allows it; yours is 2,048",
            "config set inference.context_max 4096",
            id="context",
        ),
        pytest.param(
            unserved("full"),
            "a free place; all 256 of the queue were taken",
            "config set inference.queue_max 512",
            id="full",
        ),
        pytest.param(
            unserved("dear", BASE_ONLY, winning=Winning(price_wei=4 * MILLI)),
            "a price of at most 0.004 OPEN for 1,000 tokens in and 1,000 out",
            "price set 0.004",
            id="dear",
        ),
        pytest.param(
            unserved("lost", POEMS, winning=won(4)),
            "a price of at most 0.00396 OPEN for 1,000 tokens in and 1,000 out",
            "price set 0.00396",
            id="cheaper",
        ),
        pytest.param(
            unserved("lost", POEMS, winning=won(1)),
            "a price of at most 0.00099 OPEN for 1,000 tokens in and 1,000 out, by the callers' word; "
            "no bonded seller asks as little",
            None,
            id="cheaper than anybody asks",
        ),
        pytest.param(
            unserved("lost", POEMS, winning=won(5), was_cold=True),
            "the adapter in memory, for a first token in 40 ms and 90 tokens/s, or more trust",
            "adapters pin poems",
            id="cold",
        ),
        pytest.param(
            unserved("unsold", POEMS),
            "an adapter that may be sold: it is not registered",
            "adapters list",
            id="unsold",
        ),
    ],
)
def test_a_missed_call_says_what_would_have_won_it(row: Unserved, wins: str, cli: str | None) -> None:
    (found,) = missed_calls(replace(VIEW, unserved=(row,)), NODE)
    assert (found.wins, found.cli) == (wins, f"openledger-node {cli}" if cli else None)
    assert (found.calls, found.callers, found.tokens_in, found.tokens_out) == (12, 3, 3_000, 512)
    assert (found.since[:19], found.last[:19]) == ("2027-01-15T07:50:00", "2027-01-15T07:58:20")


def test_an_adapter_that_nobody_offers_leads_to_its_owner() -> None:
    (found,) = missed_calls(replace(VIEW, unserved=(unserved("lacking"),), offered={}), NODE)
    assert (found.wins, found.cli) == (
        "this adapter, which nobody offers now",
        f"openledger-node adapters search {LAKE[:10]}",
    )


def test_calls_of_strangers_and_for_adapters_that_the_chain_does_not_know_lead_to_no_command() -> None:
    rows = (unserved("lacking", is_proven=False), unserved("lacking", AdapterId(word("nonsense"))))
    found = missed_calls(replace(VIEW, unserved=rows), NODE)
    assert [(row.is_proven, row.cli) for row in found] == [(False, None), (False, None)]
    assert best_change(found) is None
    view = replace(VIEW, unserved=(unserved("lacking"),), offered={LAKE: "lake; rm -rf ~@1a2b3c4d"})
    (named,) = missed_calls(view, NODE)
    assert named.cli == "openledger-node adapters pull 'lake; rm -rf ~@1a2b3c4d'", "a name is a stranger's word, too"


def test_the_change_that_most_callers_needed_is_suggested() -> None:
    rows = (unserved("lost", BASE_ONLY, winning=won(5)), unserved("lacking"), unserved("full"))
    change = best_change(missed_calls(replace(VIEW, unserved=rows), NODE))
    assert change is not None
    assert change.cli == "openledger-node adapters pull lake@1a2b3c4d"
    assert change.says == ("answer calls for lake@1a2b3c4d: 12 calls of the last day wanted this adapter on the disk")


def test_a_newcomer_is_told_its_place_and_the_answers_that_it_still_needs() -> None:
    standing = standing_to_plain(VIEW, NODE)
    assert (standing["model"], standing["rank"], standing["tied"], standing["offers"]) == ("fake", 2, 1, 3)
    assert (standing["answers"], standing["buyers"], standing["answers_left"]) == (0, 0, 3)
    assert standing["newcomer_call_one_in"] == 20
    answers = {Address("0x" + "1" * 40): 2, Address("0x" + "2" * 40): 7}
    standing = standing_to_plain(VIEW, replace(NODE, answers=answers))
    assert (standing["answers"], standing["buyers"], standing["proven_buyers"], standing["answers_left"]) == (
        9,
        2,
        1,
        0,
    )
