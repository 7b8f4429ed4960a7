"""Named keys: the file, its refusals, and the budget of a day over restarts and crashes."""

from contextlib import closing
from pathlib import Path

import pytest
import trio
from support.signed import CHANNEL, CONFIG

from openledger_node.access.budget import KeyAccount
from openledger_node.access.keys import ApiKeyRing, digest_of
from openledger_node.access.quota import HeldError, QuotaError
from openledger_node.errors import ConfigError, InputError
from openledger_node.home import Home
from openledger_node.ledger.bought import OpenPurchase
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.key_uses import DAY_S
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_protocol.payments import SignedVoucher, Voucher
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei


@pytest.fixture
def ring(tmp_path: Path) -> ApiKeyRing:
    return ApiKeyRing(Home(tmp_path))


def account(ring: ApiKeyRing, ledger: Ledger, now_s: int = 1_000) -> KeyAccount:
    return KeyAccount(ring.named("anna"), ledger.key_uses, lambda: now_s)


def request(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def running_job(request_id: RequestId, *, tokens_in: int) -> Job:
    return Job(
        request_id=request_id,
        received_ns=1,
        base="tiny",
        adapter_id=None,
        adapter_name=None,
        state="running",
        tokens_in=tokens_in,
    )


def test_only_the_digest_is_stored_and_only_the_owner_reads_it(ring: ApiKeyRing) -> None:
    secret = ring.add("anna", now_s=1)
    assert secret not in ring.file.read_text()
    assert digest_of(secret) in ring.file.read_text()
    assert ring.file.stat().st_mode & 0o777 == 0o600
    assert ring.find(secret) == ring.named("anna")
    assert ring.find(secret + "x") is None
    assert ring.find("") is None


def test_another_process_s_change_is_seen_at_once(ring: ApiKeyRing, tmp_path: Path) -> None:
    secret = ring.add("anna", now_s=1)
    assert ring.find(secret) is not None
    ApiKeyRing(Home(tmp_path)).revoke("anna", now_s=2)
    found = ring.find(secret)
    assert found is not None
    assert found.revoked_s == 2


@pytest.mark.parametrize("name", ["", "Anna", "a b", "a/b", "-a", "a" * 41, "ä"])
def test_bad_name_is_refused(ring: ApiKeyRing, name: str) -> None:
    with pytest.raises(InputError, match="can't be the name of a key"):
        ring.add(name, now_s=1)


def test_a_name_is_never_used_twice(ring: ApiKeyRing) -> None:
    ring.add("anna", now_s=1)
    with pytest.raises(InputError, match="is taken"):
        ring.add("anna", now_s=1)
    ring.revoke("anna", now_s=2)
    with pytest.raises(InputError, match="used by a revoked key"):
        ring.add("anna", now_s=3)
    with pytest.raises(InputError, match="revoked for ever"):
        ring.change("anna", day_tokens_max=1)
    with pytest.raises(InputError, match="there is no key 'bob'"):
        ring.revoke("bob", now_s=3)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"name": 1}]}', "\x00"])
def test_torn_file_is_a_clear_error_and_stays(ring: ApiKeyRing, content: str) -> None:
    ring.add("anna", now_s=1)
    ring.file.write_text(content)
    with pytest.raises(ConfigError, match="is damaged"):
        ring.find("olk-x")
    with pytest.raises(ConfigError, match="is damaged"):
        ring.add("bob", now_s=1)
    assert ring.file.read_text() == content


def test_file_that_others_can_read_is_refused(ring: ApiKeyRing) -> None:
    ring.add("anna", now_s=1)
    ring.file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ApiKeyRing(Home(ring.file.parent.parent)).all()


async def test_two_requests_cannot_spend_one_rest(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100, day_max_wei=Wei(50))
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        granted = []
        refused = []

        async def ask(number: int) -> None:
            try:
                each = account(ring, ledger)
                granted.append(await each.hold(request(number), most_wei=Wei(40), most_tokens=80))
            except HeldError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ask, number)
        assert sum(each.wei or 0 for each in granted) == 50
        assert sum(each.tokens or 0 for each in granted) == 100
        assert len(refused) == 2
        assert all(error.retryable for error in refused)


async def test_used_up_budget_is_refused_until_midnight_utc(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100)
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        today = account(ring, ledger, DAY_S - 1)
        await today.hold(request(1), most_wei=Wei(0), most_tokens=100)
        await today.settle(request(1), spent_wei=Wei(0), tokens=100)
        await today.settle(request(1), spent_wei=Wei(9), tokens=1)  # a second one changes nothing
        with pytest.raises(QuotaError, match="00:00 UTC"):
            await today.hold(request(2), most_wei=Wei(0), most_tokens=1)
        granted = await account(ring, ledger, DAY_S).hold(request(2), most_wei=Wei(0), most_tokens=500)
        assert granted.tokens == 100
        assert granted.wei is None


async def test_three_answers_share_the_rest(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_tokens_max=90)
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        held = [
            await account(ring, ledger).hold(
                request(number), most_wei=Wei(0), most_tokens=1_000, least_tokens=10, shares=3 - number
            )
            for number in range(3)
        ]
        assert [each.tokens for each in held] == [30, 30, 30]


async def test_key_without_money_may_still_ask_this_machine(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_max_wei=Wei(0))
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        await account(ring, ledger).hold(request(1), most_wei=Wei(0), most_tokens=10)
        with pytest.raises(QuotaError, match="for bought answers"):
            await account(ring, ledger).hold(request(2), most_wei=Wei(5), most_tokens=10)


async def test_crash_before_the_settling_neither_forgets_nor_counts_twice(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100)
    file = tmp_path / "ledger.db"
    with closing(open_ledger(file)) as ledger:
        await account(ring, ledger).hold(request(1), most_wei=Wei(0), most_tokens=60)  # no work was begun
        await account(ring, ledger).hold(request(2), most_wei=Wei(0), most_tokens=30)
        await account(ring, ledger).settle(request(2), spent_wei=Wei(0), tokens=20)
    with closing(open_ledger(file)) as ledger:
        assert ledger.key_uses.recover() == 1
        assert ledger.key_uses.recover() == 0
        use = ledger.key_uses.day("anna", 0)
        assert (use.tokens, use.held_tokens, use.num_requests) == (20, 0, 2)


async def test_own_answer_that_a_crash_cut_off_counts_with_its_prompt(ring: ApiKeyRing, tmp_path: Path) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100)
    file = tmp_path / "ledger.db"
    with closing(open_ledger(file)) as ledger:
        await account(ring, ledger).hold(request(1), most_wei=Wei(0), most_tokens=60)
        ledger.jobs.start(running_job(request(1), tokens_in=5))
    with closing(open_ledger(file)) as ledger:
        ledger.jobs.recover()
        ledger.key_uses.recover()
        assert ledger.key_uses.day("anna", 0).tokens == 5, "its length was not noted yet"
        assert ledger.key_uses.keys_of([request(1), request(9)]) == {request(1): "anna"}
        assert ledger.key_uses.last_s("anna") == 1_000


async def test_own_answer_that_a_crash_cut_off_counts_as_long_as_it_was_noted(
    ring: ApiKeyRing, tmp_path: Path
) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100)
    file = tmp_path / "ledger.db"
    with closing(open_ledger(file)) as ledger:
        for number in (1, 2):
            await account(ring, ledger).hold(request(number), most_wei=Wei(0), most_tokens=40)
            ledger.jobs.start(running_job(request(number), tokens_in=5))
        ledger.jobs.note_lengths({request(1): 7, request(2): 3})
        ledger.jobs.note_lengths({request(1): 9})
        ledger.jobs.fail(request(2), error_code="ENGINE_FAILED", ended_ns=9)  # an answer that failed is free
    with closing(open_ledger(file)) as ledger:
        ledger.jobs.recover()
        ledger.key_uses.recover()
        assert ledger.key_uses.day("anna", 0).tokens == 5 + 9
        assert {job.request_id: (job.state, job.tokens_out) for job in ledger.jobs.newest(limit=9)} == {
            request(1): ("interrupted", 9),
            request(2): ("failed", None),
        }


@pytest.mark.parametrize(
    ("bought", "tokens"),
    [((), 0), (({"tokens_in": 5, "tokens_max": 20},), 25), (({"tokens_in": 5, "tokens_max": 500},), 60)],
    ids=["nothing was bought", "one node", "at most what was held"],
)
async def test_bought_answer_that_a_crash_cut_off_counts_with_what_was_agreed_on(
    ring: ApiKeyRing, tmp_path: Path, bought: tuple[dict[str, int], ...], tokens: int
) -> None:
    ring.add("anna", now_s=1, day_tokens_max=100)
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        await account(ring, ledger).hold(request(1), most_wei=Wei(9), most_tokens=60)
        ledger.jobs.start(running_job(request(1), tokens_in=0))
        ledger.channels.ensure(CHANNEL, CONFIG, now_ns=1)
        voucher = Voucher(channel_id=CHANNEL, adapter_id=BASE_ONLY, max_claimable_wei=Wei(1))
        ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b""))
        for agreed in bought:
            ledger.purchases.put(
                OpenPurchase(
                    request_id=request(1),
                    channel_id=CHANNEL,
                    adapter_id=BASE_ONLY,
                    most_wei=Wei(8),
                    agreed=agreed,
                )
            )
        ledger.jobs.recover()
        ledger.key_uses.recover()
        use = ledger.key_uses.day("anna", 0)
        assert (use.tokens, use.spent_wei) == (tokens, 8 * len(bought))


async def test_budget_below_the_cheapest_offer_is_refused_before_the_network_is_asked(
    ring: ApiKeyRing, tmp_path: Path
) -> None:
    ring.add("anna", now_s=1, day_max_wei=Wei(99))
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        each = account(ring, ledger)
        with pytest.raises(QuotaError, match=r"99 of its 99 wei .* this request costs 100 or more"):
            await each.hold(request(1), most_wei=Wei(500), most_tokens=10, is_bought=True, least_wei=Wei(100))
        assert ledger.key_uses.day("anna", 0).num_requests == 0
        granted = await each.hold(request(2), most_wei=Wei(500), most_tokens=10, is_bought=True, least_wei=Wei(99))
        assert granted.wei == 99
