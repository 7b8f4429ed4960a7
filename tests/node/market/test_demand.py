"""Demand by adapter and hour, and what was asked for and found nowhere."""

from support.market_world.terms import word

from openledger_node.market.demand import HOUR_S, KEY_LENGTH_MAX, KEYS_MAX, ROWS_MAX, Demand
from openledger_node.market.overview import MarketView, Priced, demand_to_plain
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_WEI

FREE = Terms(price_in_wei=ZERO_WEI, price_out_wei=ZERO_WEI)


def test_calls_are_counted_by_hour_for_a_day_most_first() -> None:
    now = [10 * HOUR_S + 5.0]
    demand = Demand(lambda: now[0])
    for hour, keys in enumerate(("aab", "b", "bb")):
        now[0] = (10 + hour) * HOUR_S + 5.0
        for key in keys:
            demand.note(key)
    rows = demand.day()
    assert [(row.key, row.count, row.by_hour[-3:]) for row in rows] == [("b", 4, (1, 1, 2)), ("a", 2, (2, 0, 0))]
    now[0] = (10 + 24) * HOUR_S
    assert [(row.key, row.by_hour[:2]) for row in demand.day()] == [("b", (1, 2))]
    now[0] += 2 * HOUR_S
    assert demand.day() == ()


def test_made_up_names_are_bounded_and_printable() -> None:
    demand = Demand(lambda: 0.0)
    demand.note("first")
    for number in range(KEYS_MAX):
        demand.note(f"{number}")
    demand.note("\x1b[2J" + "x" * 10_000)
    assert len(demand._counts) == KEYS_MAX
    assert len(demand.day()) == ROWS_MAX
    assert list(demand._counts)[-1] == " [2J" + "x" * (KEY_LENGTH_MAX - 4)


def test_made_up_names_do_not_push_out_what_is_really_asked_for() -> None:
    demand = Demand(lambda: 0.0)
    for _ in range(2):
        demand.note("harbour")
    for number in range(3 * KEYS_MAX):
        demand.note(f"made up {number}")
    assert (demand.day()[0].key, demand.day()[0].count) == ("harbour", 2)


def test_status_names_the_adapters_that_are_sold_here() -> None:
    demand, wanted = Demand(lambda: 0.0), Demand(lambda: 0.0)
    for key in (BASE_ONLY, BASE_ONLY, word("other")):
        demand.note(key)
    wanted.note("harbour")
    view = MarketView(
        num_peers=0,
        num_serving=0,
        was_dialled=False,
        addresses=(),
        calls=(),
        now_s=0.0,
        priced=(Priced(name="fake", adapter=BASE_ONLY, own=FREE, others=()),),
        demand=demand.day(),
        lacking=demand.day()[1:],
        wanted=wanted.day(),
    )
    told = demand_to_plain(view)
    assert [(row["model"], row["calls"], row["lacking"]) for row in told["adapters"]] == [
        ("fake", 2, 0),
        (None, 1, 1),
    ]
    assert [(row["model"], row["requests"], sum(row["by_hour"])) for row in told["wanted"]] == [("harbour", 1, 1)]
