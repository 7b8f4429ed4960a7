"""Texts of bought answers: sealed, only on the payer's side, and gone when their time is over."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing
from support.canary import files_with
from support.market_world.liars import buy_through
from support.market_world.market import open_market
from support.market_world.requests import purchase
from support.market_world.terms import NOW_NS, Clock
from support.rows import network_named
from support.signed import opening_of

from openledger_node.errors import KeyFileError
from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.texts import SealedTexts, TextEnd
from openledger_node.network.guest import GuestTexts
from openledger_node.payments import kept_texts
from openledger_node.payments.kept_texts import DAY_S, FORGET_EACH_S, KeptTexts, Seal, find_text_at, open_seal
from openledger_node.payments.payer import Keep
from openledger_protocol.opening import check_opening
from openledger_protocol.primitives import Digest

PROMPT = "Zq7-prompt-plover-4471"


def keeping(seal: Seal, *, keep_s: float = 100.0, clock: Clock | None = None) -> Callable[[Ledger], Keep]:
    def keep_in(ledger: Ledger) -> Keep:
        return KeptTexts(ledger, seal, keep_s=keep_s, now_ns=clock or Clock()).keep

    return keep_in


async def test_neither_sides_files_hold_what_was_said(tmp_path: Path) -> None:
    keep = keeping(open_seal(tmp_path / "net"))
    async with open_market(tmp_path, keep_texts=keep) as market:
        bought = await buy_through(market, purchase("r1", prompt=f"{PROMPT} and so on...", max_tokens=60))
        await market.seller.serving.wait_idle()
        assert len(bought.text) > 40
        assert market.seller.ledger.receipts.newest(limit=1)[0].countersignature
        for words in (PROMPT, bought.text):  # while the write-ahead logs are there, and after
            assert files_with(words, tmp_path) == []
    for words in (PROMPT, bought.text):
        assert files_with(words, tmp_path) == []


async def test_a_payer_that_keeps_texts_can_open_its_receipts(tmp_path: Path) -> None:
    async with open_market(tmp_path, keep_texts=keeping(open_seal(tmp_path / "net"), keep_s=10**9)) as market:
        bought = await market.buy(purchase("r1", prompt=PROMPT))
        opening = find_text_at(tmp_path / "net", market.buyer.ledger, bought.digest, now_ns=1)
        assert opening is not None
        check_opening(opening, bought.receipt)
        assert (opening.messages, opening.text) == (PROMPT, bought.text)
        assert find_text_at(tmp_path / "net", market.seller.ledger, bought.digest, now_ns=1) is None
        with pytest.raises(KeyFileError, match="sealed with another"):
            find_text_at(tmp_path / "other", market.buyer.ledger, bought.digest, now_ns=1)


# ---- they end by time, setting and room, and with a clock that jumps


S = 10**9
HOUR_S = 3_600
LATE_NS = NOW_NS + 10**6
"""The clock passes a little with each reading."""

Open = Callable[..., KeptTexts]


def digest_of(number: int) -> Digest:
    return Digest(f"0x{number:064x}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def texts(ledger: Ledger, tmp_path: Path, clock: Clock) -> Open:
    def open_them(keep_s: float = DAY_S) -> KeptTexts:
        return KeptTexts(ledger, open_seal(tmp_path), keep_s=keep_s, now_ns=clock)

    return open_them


def end_of(rows: SealedTexts, number: int, clock: Clock) -> TextEnd:
    found = rows.find_end(digest_of(number), now_ns=clock.now_ns)
    assert found is not None
    return found


def test_a_text_is_there_an_hour_later_and_gone_after_a_day_and_its_end_is_remembered(
    texts: Open, ledger: Ledger, clock: Clock
) -> None:
    kept = texts()
    kept.keep(digest_of(1), opening_of("the answer"))
    clock.now_ns += HOUR_S * S
    found = kept.find(digest_of(1))
    assert found is not None
    assert found.text == "the answer"
    assert (end := end_of(ledger.texts, 1, clock)).why_gone is None
    assert NOW_NS + DAY_S * S <= end.end_ns <= LATE_NS + DAY_S * S
    clock.now_ns += DAY_S * S
    assert kept.find(digest_of(1)) is None  # before it is deleted
    assert end_of(ledger.texts, 1, clock).why_gone == "time"
    kept.forget()
    assert end_of(ledger.texts, 1, clock) == TextEnd(end_ns=end.end_ns, why_gone="time")
    assert ledger.texts.find_end(digest_of(2), now_ns=clock.now_ns) is None


def test_a_shorter_setting_ends_what_an_older_one_kept_but_not_what_an_audit_holds(
    texts: Open, ledger: Ledger, clock: Clock
) -> None:
    kept = texts()
    kept.keep(digest_of(1), opening_of("the answer"))
    kept.keep(digest_of(2), opening_of("the answer"))
    kept.hold(digest_of(2), opening_of("the answer"), until_s=clock.now_ns // S + HOUR_S)
    clock.now_ns += 60 * S
    none = texts(0)
    none.shorten()
    assert none.find(digest_of(1)) is None
    assert end_of(ledger.texts, 1, clock).why_gone == "setting"
    assert none.find(digest_of(2)) is not None
    assert end_of(ledger.texts, 2, clock).is_held
    none.release(digest_of(2))
    assert none.find(digest_of(2)) is None


def test_a_longer_setting_does_not_keep_an_older_text_longer(texts: Open, clock: Clock) -> None:
    texts(HOUR_S).keep(digest_of(1), opening_of("the answer"))
    texts(DAY_S).shorten()
    clock.now_ns += 2 * HOUR_S * S
    assert texts(DAY_S).find(digest_of(1)) is None


def test_a_released_text_is_kept_for_as_long_as_any_other(texts: Open, clock: Clock) -> None:
    kept = texts(HOUR_S)
    kept.hold(digest_of(1), opening_of("the answer"), until_s=clock.now_ns // S + 10 * DAY_S)
    clock.now_ns += 1_800 * S
    kept.release(digest_of(1))
    assert kept.find(digest_of(1)) is not None
    clock.now_ns += 1_900 * S
    assert kept.find(digest_of(1)) is None


def test_a_clock_that_is_set_back_keeps_no_text_for_years(texts: Open, ledger: Ledger, clock: Clock) -> None:
    kept, year_ns = texts(HOUR_S), 365 * DAY_S * S
    clock.now_ns += year_ns  # a wrong clock
    kept.keep(digest_of(1), opening_of("the answer"))
    clock.now_ns -= year_ns
    kept.forget()
    assert end_of(ledger.texts, 1, clock).end_ns <= clock.now_ns + HOUR_S * S
    assert kept.find(digest_of(1)) is not None
    clock.now_ns += HOUR_S * S
    kept.forget()
    assert end_of(ledger.texts, 1, clock).why_gone == "time"


def test_a_clock_that_is_wrong_for_a_minute_after_a_boot_deletes_no_text_that_an_audit_holds(
    texts: Open, clock: Clock
) -> None:
    kept, year_ns = texts(0), 365 * DAY_S * S
    kept.hold(digest_of(1), opening_of("the answer"), until_s=clock.now_ns // S + DAY_S)
    clock.now_ns -= year_ns
    kept.shorten()  # the node starts, and no time server has answered yet
    clock.now_ns += year_ns
    kept.forget()
    assert kept.find(digest_of(1)) is not None


def test_the_oldest_texts_make_room_but_none_that_is_held(
    texts: Open, ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = texts()
    kept.hold(digest_of(9), opening_of("x" * 4_000), until_s=clock.now_ns // S + DAY_S)
    monkeypatch.setattr(kept_texts, "BYTES_MAX", 20_000)
    for number in range(1, 5):
        kept.keep(digest_of(number), opening_of("x" * 4_000))
    here = [number for number in (1, 2, 3, 4, 9) if kept.find(digest_of(number))]
    assert here == [3, 4, 9]  # each takes about 6,000 bytes
    assert end_of(ledger.texts, 1, clock).why_gone == "room"


def files_holding(sealed: bytes, folder: Path) -> list[str]:
    """The files that hold a part of a sealed text."""
    pieces = [sealed[start : start + 64] for start in range(0, len(sealed) - 64, 500)]
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return [name for name, content in contents.items() if any(piece in content for piece in pieces)]


def sealed_text(kept: KeptTexts, clock: Clock) -> bytes:
    kept.keep(digest_of(1), opening_of("y" * 9_000))
    sealed = kept._rows.find(digest_of(1), now_ns=clock.now_ns)
    assert sealed is not None
    return sealed


def test_a_text_that_a_lower_setting_deletes_is_in_no_file(
    texts: Open, ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    sealed = sealed_text(texts(DAY_S), clock)
    ledger._store.fold_log()
    assert files_holding(sealed, tmp_path) == ["ledger.db"]
    texts(0).shorten()
    assert files_holding(sealed, tmp_path) == []


def test_a_text_that_is_deleted_in_a_transaction_is_overwritten_at_the_next_look(
    texts: Open, ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    kept = texts(HOUR_S)
    sealed = sealed_text(kept, clock)
    with ledger.transaction():
        clock.now_ns += 2 * HOUR_S * S
        kept.release(digest_of(1))
    assert files_holding(sealed, tmp_path)
    kept.forget()
    assert files_holding(sealed, tmp_path) == []


async def test_a_text_goes_in_its_time_also_if_nothing_is_bought(
    ledger: Ledger, tmp_path: Path, clock: Clock, autojump_clock: trio.testing.MockClock
) -> None:
    kept = KeptTexts(ledger, open_seal(tmp_path), keep_s=600, now_ns=clock)
    kept.keep(digest_of(1), opening_of("a"))
    clock.now_ns += 601 * S
    with trio.move_on_after(2 * FORGET_EACH_S):
        await kept.forget_in_time()
    assert end_of(ledger.texts, 1, clock).why_gone == "time"


NETWORK = network_named()


@pytest.fixture
def guest_file(tmp_path: Path) -> Path:
    file = Home(tmp_path).guest_ledger(NETWORK.network)
    file.parent.mkdir(parents=True)
    open_ledger(file).close()
    return file


def test_the_guests_texts_go_in_their_time_and_a_damaged_key_stops_nothing(
    tmp_path: Path,
    guest_file: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("openledger_node.payments.kept_texts.time.time_ns", clock)
    monkeypatch.setattr("openledger_node.network.guest.time.monotonic", lambda: clock.now_ns / S)
    with closing(open_ledger(guest_file)) as ledger:
        KeptTexts(ledger, open_seal(guest_file.parent), keep_s=600, now_ns=clock).keep(digest_of(1), opening_of("a"))
    texts = GuestTexts(Home(tmp_path))

    def watch(minutes: int, setting_s: float = 600) -> str | None:
        """Watch for so long; return why the text is gone then."""
        for _ in range(minutes):
            texts.step(NETWORK, setting_s=setting_s)
            clock.now_ns += 60 * S
        with closing(open_ledger(guest_file)) as ledger:
            return end_of(ledger.texts, 1, clock).why_gone

    assert watch(9) is None
    assert watch(2) == "time"
    (guest_file.parent / "texts.key").write_text("no key")
    watch(3, setting_s=-1)
    assert caplog.text.count("is not a valid key") == 1
