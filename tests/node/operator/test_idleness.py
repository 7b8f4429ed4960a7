"""Why a node is idle, and what would have won the calls that it missed."""

from dataclasses import replace
from typing import Any

import pytest
from support.market_world.terms import BASE, word
from support.reaches import REACHES

from openledger_node.market.overview import MarketView, Priced
from openledger_node.market.unserved import CallKind, Cause, Unserved, Winning
from openledger_node.operator.idle_reasons import Idleness, LostSeen, Observed, PriceSeen, Suggestion, explain
from openledger_node.operator.missed_calls import NodeFacts, best_change, missed_calls, standing_to_plain
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest, Wei

OPEN = 10**18
QUIET = Observed(
    serves=True, engine="ready", num_peers=9, num_serving_peers=6, was_dialled=True, num_heard=4, num_won=2
)
BETTER = "another bid was better: 1 wei in, 2 out, first token in 40 ms, then 90 a second"


def lost(mine: int, winners: int | None, reason: str = BETTER) -> LostSeen:
    return LostSeen(
        when="2026-11-25T12:00:00Z", adapter="lake", my_price_wei=mine, winner_price_wei=winners, reason=reason
    )


@pytest.mark.parametrize("state", ["starting", "reloading"])
def test_a_base_that_is_being_loaded_is_no_failure_and_nothing_else_is_to_blame(state: str) -> None:
    found = explain(replace(QUIET, engine=state, load_step="loading the base, 40 %", num_peers=0))
    assert found.sentence == "loading the base, 40 %"
    assert (check_of(found, "engine").ok, check_of(found, "engine").says) == (None, "loading the base, 40 %")
    assert found.suggestion is None


def test_an_unloaded_engine_is_no_reason_to_be_idle_and_says_what_the_next_request_costs() -> None:
    found = check_of(explain(replace(QUIET, engine="unloaded", load_s=8.2)), "engine")
    assert (found.ok, found.says) == (
        True,
        "the engine gave its memory back, and the next request loads it again in about 8 s",
    )


def check_of(found: Idleness, name: str) -> Any:
    return next(check for check in found.checks if check.check == name)


PRICED = replace(
    QUIET,
    num_won=0,
    price=PriceSeen(of="lake", own_wei=5 * OPEN // 1000, others_wei=(3 * OPEN // 1000, 4 * OPEN // 1000)),
    lost=(lost(5 * OPEN // 1000, 3 * OPEN // 1000), lost(5 * OPEN // 1000, 4 * OPEN // 1000)),
)


@pytest.mark.parametrize(
    ("seen", "failing", "sentence", "cli"),
    [
        (
            replace(QUIET, engine="failed", why_engine="the driver is too old: update it"),
            "engine",
            "the driver is too old: update it",
            "doctor --only model",
        ),
        (replace(QUIET, paused="paused by its owner"), "limits", "by its owner", "resume"),
        (
            replace(QUIET, chain="down", why_chain="no endpoint answers"),
            "chain",
            "the chain is down: no endpoint answers",
            "doctor --only chain",
        ),
        (replace(QUIET, second_copy="stop one"), "copies", "stop one", "openledger-node stop"),
        (replace(QUIET, num_peers=0), "reachable", "no peer is connected", "doctor --only network"),
        (replace(QUIET, num_heard=0, num_won=0), "demand", "nobody has asked", "peers list"),
        (replace(QUIET, num_live=8, queue_max=8), "capacity", "queue of 8", "limits show"),
        (
            replace(QUIET, lost=(lost(5, None, "has a context of 2048 tokens, and 4000 are needed"),)),
            "capacity",
            "a longer context",
            "limits show",
        ),
        (PRICED, "price", "place 3 of 3 for lake", "price set 0.003465"),
        (
            replace(QUIET, serves=False, engine="absent", spent_today_wei=OPEN, day_max_wei=OPEN),
            "limits",
            "today's 1 OPEN are spent",
            "limits set --day-max",
        ),
    ],
)
def test_the_failing_check_names_what_would_help(seen: Observed, failing: str, sentence: str, cli: str) -> None:
    found = explain(seen)
    assert check_of(found, failing).ok is False
    assert sentence in found.sentence
    assert found.suggestion is not None
    assert cli in found.suggestion.cli


def test_who_lets_nobody_in_speaks_first_and_among_the_rest_the_one_speaks_that_most_lost_bids_are_for() -> None:
    short = lost(5, None, "has a context of 2048 tokens, and 4000 are needed")
    one_of_each = replace(PRICED, lost=(*PRICED.lost, short))
    assert "cheaper nodes win" in explain(one_of_each).sentence
    mostly_short = replace(PRICED, lost=(PRICED.lost[0], short, short))
    assert "longer context" in explain(mostly_short).sentence
    assert "the chain is halted" in explain(replace(PRICED, chain="halted")).sentence
    faster = explain(replace(PRICED, lost=(lost(5, 6), lost(5, None, "the requester left without a word"))))
    assert check_of(faster, "price").ok is True


def test_a_node_that_wins_says_so_and_suggests_nothing() -> None:
    found = explain(QUIET)
    assert found.sentence == "nothing to answer just now: 4 calls in the last hour, 2 won"
    assert found.suggestion is None
    assert [check.check for check in found.checks if check.ok is False] == []


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (replace(QUIET, has_network=False), "this node serves this machine alone"),
        (replace(QUIET, has_peers_here=False, num_peers=0), "on a chain of its own, so only you can send requests"),
        (replace(QUIET, serves=False, engine="absent"), "requests of this machine go to the network"),
    ],
)
def test_a_node_that_cannot_be_asked_says_why_and_finds_no_fault(seen: Observed, sentence: str) -> None:
    found = explain(replace(seen, num_heard=0, num_won=0))
    assert sentence in found.sentence
    assert found.suggestion is None


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [(5, (6, 9), "the cheapest of 3 for lake"), (5, (3, 5, 5, 9), "place 2 of 5, shared with 2 others for lake")],
)
def test_equal_prices_share_a_rank(own: int, others: tuple[int, ...], words: str) -> None:
    found = explain(replace(QUIET, price=PriceSeen(of="lake", own_wei=own, others_wei=others)))
    assert check_of(found, "price").says.startswith(words)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (replace(QUIET, num_local=1), "2 won; 1 request from this machine in the last hour"),
        (replace(QUIET, has_peers_here=False, num_local=2), "no other node can send requests; 2 requests from this"),
    ],
)
def test_demand_counts_the_requests_that_the_jobs_show(seen: Observed, says: str) -> None:
    assert says in check_of(explain(seen), "demand").says


@pytest.mark.parametrize(
    ("state", "is_ok", "says"),
    [
        ("unknown", None, "9 peers connected; whether other nodes can reach this one is not known yet"),
        ("mapped", True, "directly at /ip4/11.0.0.7/tcp/4120, a port that the router forwards"),
        ("relayed", True, "over a relay only, which is slower and carries no adapter files"),
        ("unreachable", False, "no other node can reach this one, so only peers that it has dialled itself can"),
    ],
)
def test_a_seller_is_reachable_only_if_somebody_outside_reaches_it(state: str, is_ok: bool | None, says: str) -> None:
    seen = replace(QUIET, was_dialled=False, reach=REACHES[state])
    found = check_of(explain(seen), "reachable")
    assert (found.ok, says in found.says) == (is_ok, True)
    assert check_of(explain(replace(seen, serves=False)), "reachable").ok


def test_a_strangers_word_on_a_lower_price_than_anybody_advertises_suggests_nothing() -> None:
    found = explain(replace(PRICED, lost=(lost(5 * OPEN // 1000, 12), lost(5 * OPEN // 1000, 12))))
    assert found.suggestion is None
    assert explain(replace(PRICED, price=None)).suggestion is None
    assert explain(replace(PRICED, lost=(lost(5, 0),))).suggestion is None


def test_a_change_that_proven_callers_wanted_is_suggested_where_nothing_else_is_wrong() -> None:
    asked = Suggestion(says="answer calls for lake", cli="openledger-node adapters pull lake@1a2b3c4d")
    assert explain(replace(QUIET, asked=asked)).suggestion == asked
    assert explain(replace(QUIET, num_heard=0, num_won=0, asked=asked)).suggestion == asked
    unreached = explain(replace(QUIET, num_peers=0, asked=asked)).suggestion
    assert unreached is not None
    assert unreached.cli == "openledger-node doctor --only network"


# ---- demand in words: what would have won, the command that changes it, and no command by a stranger's word


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
        (unserved("lacking"), "this adapter on the disk", "adapters pull lake@1a2b3c4d"),
        (unserved("base", base=GEMMA, adapter=BASE_ONLY), "this base", "models use 'gemma 3'"),
        (
            unserved("context"),
            "a context of 4,096 tokens, if the base allows it; yours is 2,048",
            "config set inference.context_max 4096",
        ),
        (
            unserved("dear", BASE_ONLY, winning=Winning(price_wei=4 * MILLI)),
            "a price of at most 0.004 OPEN for 1,000 tokens in and 1,000 out",
            "price set 0.004",
        ),
        (
            unserved("lost", POEMS, winning=won(4)),
            "a price of at most 0.00396 OPEN for 1,000 tokens in and 1,000 out",
            "price set 0.00396",
        ),
        (
            unserved("lost", POEMS, winning=won(1)),
            "a price of at most 0.00099 OPEN for 1,000 tokens in and 1,000 out, by the callers' word; "
            "no bonded seller asks as little",
            None,
        ),
        (
            unserved("lost", POEMS, winning=won(5), was_cold=True),
            "the adapter in memory, for a first token in 40 ms and 90 tokens/s, or more trust",
            "adapters pin poems",
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
