"""Work behind the earnings: duty cycle, power in the owner's currency, and what was sold, to the wei."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.seller import Seller
from support.chain_world.world import World

from openledger_node.accounting.earnings import earnings_report
from openledger_node.accounting.work_report import duty_to_plain, power_to_plain, work_report
from openledger_node.cli.earning_work import work_lines
from openledger_node.home import Home
from openledger_node.ledger.activity import Activity
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.power import PowerMeter
from openledger_node.settings_file import write_settings
from openledger_node.text import rfc3339
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import RequestId

NS, DAY_S = 10**9, 86_400
NOW_S = 1_800_000_000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.root.mkdir()
    return found


def report(world: World, home: Home, **given: Any) -> dict[str, Any]:
    now_s = float(world.node.client.head().timestamp_s)
    return work_report(
        home, world.node, lambda asked: earnings_report(world.node, asked, now_s=now_s), given, now_s=now_s
    )


def add_job(
    ledger: Ledger, number: int, received_s: float, ended_s: float | None, *, device: str | None = None
) -> None:
    id = RequestId(f"0x{number:064x}")
    ledger.jobs.start(
        Job(
            request_id=id,
            received_ns=int(received_s * NS),
            base="fake",
            adapter_id=None,
            adapter_name=None,
            state="running",
            tokens_in=1,
        )
    )
    if ended_s is not None:
        with ledger._store.transaction() as transaction:
            transaction.execute(
                "UPDATE job SET state = 'completed', ended_ns = ?, device = ? WHERE request_id = ?",
                (int(ended_s * NS), device, id),
            )


@pytest.mark.parametrize(
    ("jobs", "since", "until"),
    [
        pytest.param([], 0, 10, id="none"),
        pytest.param([(2, 4), (6, 3)], 0, 20, id="one after another"),
        pytest.param([(2, 10), (3, 1), (8, 9)], 0, 20, id="at once"),
        pytest.param([(2, 10), (30, 5)], 5, 32, id="over both ends"),
        pytest.param([(2, None), (4, 3)], 0, 20, id="one still runs"),
        pytest.param([(2, 0), (15, 3)], 4, 9, id="all outside"),
    ],
)
def test_the_busy_time_is_that_of_every_second_in_which_a_request_ran(
    tmp_path: Path, jobs: list[tuple[int, int | None]], since: int, until: int
) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        for number, (received, lasts) in enumerate(jobs):
            add_job(ledger, number, received, None if lasts is None else received + lasts)
        found = ledger.activity.busy_ns(since_ns=since * NS, until_ns=until * NS)
    spans = [(received, until if lasts is None else received + lasts) for received, lasts in jobs]
    busy = [second for second in range(since, until) if any(begin <= second < end for begin, end in spans)]
    assert found == len(busy) * NS


def test_a_share_of_the_day_and_of_the_week_is_cut_and_not_rounded_up(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        add_job(ledger, 1, NOW_S - 3 * DAY_S, NOW_S - 3 * DAY_S + 8_640)
        add_job(ledger, 2, NOW_S - 200, NOW_S - 100)
        duty = duty_to_plain(ledger.activity, now_s=float(NOW_S))
    assert duty["day"] == {"busy_s": 100.0, "share_ppm": 1_157}
    assert duty["week"] == {"busy_s": 8_740.0, "share_ppm": 14_451}


# ---- what was sold


async def test_the_models_that_were_sold_sum_to_the_receipts_to_the_wei(
    seller: Seller, world: World, home: Home
) -> None:
    bought = [await seller.ask("hello"), await seller.ask("and again")]
    before = report(world, home)
    seller.settle_all()
    after = report(world, home)
    gross_wei = sum(each.receipt.amount_wei for each in bought)
    for found in (before, after):
        assert int(found["sold_wei"]) == sum(int(each["amount_wei"]) for each in found["sold"]) == gross_wei
        assert sum(each["receipts"] for each in found["sold"]) == 2
        assert sum(each["tokens_out"] for each in found["sold"]) == sum(
            each.receipt.work.tokens_out for each in bought
        )
    claimed = earnings_report(world.node, {}, now_s=float(world.node.client.head().timestamp_s))["settlements"]
    assert sum(int(each["gross_wei"]) for each in claimed) == gross_wei
    assert world.node.ledger.activity.answers_by_payer(world.node.accounts.wallet) == {world.payer.accounts.wallet: 2}
    for late in ("2100-01-01", "9999-12-31"):
        assert report(world, home, since=late)["sold"] == []
    assert report(world, home, since="1600-01-01")["sold"] == found["sold"], "no time is too long ago for the ledger"


def test_answers_are_summed_by_the_device_that_gave_them(world: World, home: Home) -> None:
    channel = world.open_channel()
    for number, device in enumerate(("cuda:0", "cuda:1", "cuda:0", None), start=1):
        row = world.earn(channel, 10**18 + number)
        add_job(world.node.ledger, number, NOW_S, NOW_S + 1, device=device)
        assert row.receipt.work.request_id == f"0x{number:064x}"
    found = report(world, home)
    devices = [(each["device"], each["receipts"], int(each["amount_wei"])) for each in found["devices"]]
    assert devices == [("cuda:0", 2, 2 * 10**18 + 4), (None, 1, 10**18 + 4), ("cuda:1", 1, 10**18 + 2)]
    assert sum(wei for _, _, wei in devices) == int(found["sold_wei"])
    assert sum(each["tokens_out"] for each in found["devices"]) == found["sold"][0]["tokens_out"]
    assert [(each["base"], each["receipts"]) for each in found["sold"]] == [("fake", 4)], "a model is one row"


async def test_a_report_has_no_forecast_unless_asked_and_none_for_a_new_node(
    seller: Seller, world: World, home: Home
) -> None:
    await seller.ask("hello")
    assert report(world, home)["forecast"] is None
    forecast = report(world, home, forecast=True)["forecast"]
    assert (forecast["low_wei"], forecast["history_days_min"]) == (None, 14)


async def test_by_day_the_work_is_that_of_the_whole_days_of_the_earnings(
    seller: Seller, world: World, home: Home
) -> None:
    await seller.ask("hello")
    (row,) = world.node.ledger.receipts.unclaimed()
    issued_at_s, tomorrow_s = row.receipt.issued_at_s, (row.receipt.issued_at_s // DAY_S + 1) * DAY_S

    def sold_wei(**given: Any) -> int:
        asked = {"since": rfc3339(issued_at_s), **given}
        return int(work_report(home, world.node, lambda _: {}, asked, now_s=float(tomorrow_s + 7))["sold_wei"])

    assert sold_wei() == row.receipt.amount_wei
    assert sold_wei(by="day") == 0, "the earnings begin with the next midnight"


def test_a_time_to_come_that_no_column_can_hold_has_no_work(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        add_job(ledger, 1, 5.0, 9.0)
        assert ledger.activity.busy_ns(since_ns=10**21, until_ns=20 * NS) == 0


# ---- power


HOUR_NS = 3_600 * NS


def test_power_is_not_counted_without_a_price_or_without_watts(home: Home) -> None:
    assert power_to_plain(home, {}, busy_ns=HOUR_NS) is None
    write_settings(home.config_file, {"power.price_per_kwh": 0.3})
    assert power_to_plain(home, {}, busy_ns=HOUR_NS) is None


def test_a_flag_goes_before_the_setting_and_that_before_the_cards_word(home: Home) -> None:
    PowerMeter(home, elapsed_s=lambda: 0.0).note(180.0)
    write_settings(home.config_file, {"power.price_per_kwh": 0.3, "power.currency": "EUR"})
    found = power_to_plain(home, {}, busy_ns=2 * HOUR_NS)
    assert found is not None
    assert (found["watts"], found["watts_from"], found["currency"]) == (180.0, "card", "EUR")
    assert (found["hours"], found["kwh"], found["cost"]) == (2.0, 0.36, 0.108)
    write_settings(home.config_file, {"power.watts": 200.0})
    found = power_to_plain(home, {}, busy_ns=2 * HOUR_NS)
    assert found is not None
    assert (found["watts"], found["watts_from"]) == (200.0, "setting")
    found = power_to_plain(home, {"power_price": 1, "watts": "100"}, busy_ns=2 * HOUR_NS)
    assert found is not None
    assert (found["watts"], found["watts_from"], found["price_per_kwh"], found["cost"]) == (100.0, "flag", 1.0, 0.2)


def test_a_figure_of_zero_goes_before_the_setting_too(home: Home) -> None:
    write_settings(home.config_file, {"power.price_per_kwh": 0.3, "power.watts": 200.0})
    assert power_to_plain(home, {}, busy_ns=HOUR_NS) is not None
    assert power_to_plain(home, {"watts": 0}, busy_ns=HOUR_NS) is None
    assert power_to_plain(home, {"power_price": 0}, busy_ns=HOUR_NS) is None


@pytest.mark.parametrize("value", ["much", -1, float("nan"), float("inf")])
def test_a_figure_that_is_none_is_refused_by_name(home: Home, value: object) -> None:
    with pytest.raises(MalformedError, match="watts"):
        power_to_plain(home, {"watts": value}, busy_ns=0)


# ---- in words

WORK: dict[str, Any] = {
    "duty": {"day": {"busy_s": 1.0, "share_ppm": 41_999}, "week": {"busy_s": 1.0, "share_ppm": 0}},
    "power": None,
    "sold": [
        {"base": "fake", "adapter_id": None, "adapter": None, "receipts": 1, "tokens_out": 3, "amount_wei": "5"}
    ],
    "sold_wei": "5",
    "devices": [{"device": "cpu", "receipts": 1, "tokens_out": 3, "amount_wei": "5"}],
    "forecast": {"history_days": 3, "history_days_min": 14, "window_days": 7, "low_wei": None, "high_wei": None},
}


def test_the_lines_say_what_is_missing_for_a_range_and_never_round_up() -> None:
    lines = work_lines(WORK)
    assert lines["answering"] == "4.1 % of the last 24 hours, 0.0 % of the last 7 days"
    assert "1 answer of fake" in lines["sold"]
    assert lines["a week"] == "no range yet: 11 whole days of history missing"
    assert "power" not in lines


def test_devices_are_named_when_there_is_more_than_one() -> None:
    of = {"receipts": 2, "tokens_out": 3, "amount_wei": str(10**18)}
    unknown, first, second = ({"device": name, **of} for name in (None, "cuda:0", "cuda:1"))
    for devices in ([], [first], [unknown, first]):
        assert not [label for label in work_lines({**WORK, "devices": devices}) if label.startswith("on ")]
    lines = work_lines({**WORK, "devices": [first, second, unknown]})
    assert [lines[f"on {name}"] for name in ("cuda:0", "cuda:1", "an unknown device")] == [
        "1 OPEN gross for 2 answers"
    ] * 3


def test_a_range_names_its_history_and_promises_nothing() -> None:
    known = {**WORK["forecast"], "history_days": 30, "low_wei": str(-(10**18)), "high_wei": str(2 * 10**18)}
    line = work_lines({**WORK, "forecast": known})["a week"]
    assert line.startswith("-1 OPEN to 2 OPEN net")
    assert "of your last 30 days, which promise nothing" in line


def test_power_names_the_currency_and_where_the_watts_come_from() -> None:
    power = {"cost": 0.108, "currency": "EUR", "kwh": 0.36, "hours": 2.0, "watts": 180.0, "watts_from": "card"}
    line = work_lines({**WORK, "power": power})["power"]
    assert line.startswith("0.11 EUR: 0.360 kWh in the 2.00 h")
    assert "as the card's driver reported; it is in no sum of OPEN" in line


def test_an_empty_ledger_has_no_first_request(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        activity: Activity = ledger.activity
        assert activity.first_job_ns() is None
        add_job(ledger, 1, 5.0, None)
        assert activity.first_job_ns() == 5 * NS
