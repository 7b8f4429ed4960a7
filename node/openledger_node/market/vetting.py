"""Sellers vetted before they are called: the chain knows their signer, their wallet is bonded, and they owe nothing.

Anyone may advertise with another's wallet, so a record by wallet counts only after this.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

import trio

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import BadSignatureError, ProtocolError, UnavailableError
from openledger_protocol.primitives import ZERO_WEI, Address, Wei

from ..errors import ChainError, LedgerError
from ..ledger.sellers import SellerRecord, Sellers
from .board import AdTable
from .worth import UNPROVEN_MAX, Worth

KEPT_S = 60.0
"""The chain's answer on a signer and its wallet is kept for so long. A purchase asks for the signer once more."""

UNFIT_KEPT_S = 5.0
"""The chain's first answer that a seller is not fit is kept for so long, and each further one for twice as long, up
to `KEPT_S`: a new seller advertises while its bond is on its way to a block."""

WANTED_S = 1.0
"""A call that finds no fit seller asks again about those that were unfit so long ago: a block may have come since.

All calls together ask so again once in this time, however many unfit sellers advertise.
"""

STALE_S = 600.0
"""A bond that was read so long ago is read again, since its wallet may have withdrawn it."""

ASK_TIMEOUT_S = 5.0
"""A seller that the chain says nothing about for so long is passed over, and no others are asked about. So a silent
endpoint holds up a call once, however many sellers there are."""

SILENT = f"it says nothing within {ASK_TIMEOUT_S:g} s, see [chain] rpc"

AWAY_S = 3_600.0
"""While the chain can't be asked, a seller is bought from if it was fit so long ago or less. At risk is one chunk."""

AWAY_AGAIN_S = 5.0
"""Such a seller is asked about again after this time, so that a silent endpoint does not hold up each call."""

KEPT_MAX = 4_096
READ_AT_ONCE = 8
"""Questions to the chain at once about sellers that nobody is waiting for."""

LOOK_EVERY_S, STALE_EACH = 2.0, 2
"""Without a new advertisement the board is searched this often for sellers whose stake is to be read, and so many of
those that were read long ago are read again then: 600 in `STALE_S`, more than a base has places for."""

READ_EVERY_S, READ_EACH = 1.0, 24
"""So many new advertisers are read in this time, each with two questions, which public endpoints allow."""

NOT_READ = Worth()
"""Shared, since the board is asked for the worth of all its advertisers each second."""

WAVES_MAX = 4
"""Once a seller is found fit, no more waves of others are asked about, so that false wallets can't hold up a call."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """The chain's answer on one signer and wallet."""

    error: ProtocolError | None
    worth: Worth  # with the answers of a bonded wallet to this node when the chain was asked
    asked_s: float
    kept_s: float = KEPT_S
    unasked_until_s: float = -inf  # the chain could not be asked just now, and is not asked again before

    @property
    def until_s(self) -> float:
        """The time until which the answer is kept."""
        return max(self.asked_s + self.kept_s, self.unasked_until_s)


class Vetting:
    """Vets advertisers, and remembers the chain's answers for a while."""

    def __init__(
        self,
        *,
        may_sign: Callable[[Address, Address], Awaitable[bool]],
        bond_of: Callable[[Address], Awaitable[Wei]],
        sellers: Sellers,
        now_ns: Callable[[], int],
    ) -> None:
        self._may_sign = may_sign
        self._sellers = sellers
        self._bond_of = bond_of
        self._now_ns = now_ns
        self._verdicts: dict[tuple[Address, Address], _Verdict] = {}
        self._wanted_s = -inf  # unfit sellers are asked about again from this time on

    async def choose(
        self, offers: Sequence[Advertisement], records: Mapping[Address, SellerRecord], count_max: int
    ) -> tuple[list[Advertisement], dict[str, ProtocolError]]:
        """Return the first `count_max` fit offers, and the reasons against those before them, by peer id."""
        now_ns, began_s = self._now_ns(), trio.current_time()
        refused = self._refused([ad for ad in offers if not why_barred(records[ad.wallet], now_ns)])[:count_max]
        fit, unfit = await self._choose(offers, records, count_max)
        asked_s = trio.current_time()
        if fit or not refused or asked_s < self._wanted_s or asked_s - began_s >= ASK_TIMEOUT_S:
            return fit, unfit
        self._wanted_s = asked_s + WANTED_S
        fit, still = await self._choose(refused, records, count_max, is_asked_again=True)
        if trio.current_time() - asked_s >= ASK_TIMEOUT_S:
            self._wanted_s = trio.current_time() + AWAY_AGAIN_S  # the chain is silent
        chosen = {ad.peer_id for ad in fit}
        return fit, {peer_id: error for peer_id, error in (unfit | still).items() if peer_id not in chosen}

    async def _choose(
        self,
        offers: Sequence[Advertisement],
        records: Mapping[Address, SellerRecord],
        count_max: int,
        *,
        is_asked_again: bool = False,
    ) -> tuple[list[Advertisement], dict[str, ProtocolError]]:
        now_ns = self._now_ns()
        fit: list[Advertisement] = []
        unfit: dict[str, ProtocolError] = {}
        for begin in range(0, len(offers), count_max):
            wave, began_s = offers[begin : begin + count_max], trio.current_time()
            errors: dict[str, ProtocolError | None] = {}
            async with trio.open_nursery() as nursery:
                for ad in wave:
                    if error := why_barred(records[ad.wallet], now_ns):
                        errors[ad.peer_id] = error
                    else:
                        nursery.start_soon(self._vet, ad, errors, is_asked_again)
            fit += [ad for ad in wave if errors[ad.peer_id] is None]
            unfit |= {peer_id: error for peer_id, error in errors.items() if error}
            if trio.current_time() - began_s >= ASK_TIMEOUT_S:
                break
            if len(fit) >= count_max or (fit and begin // count_max + 1 >= WAVES_MAX):
                break
        return fit[:count_max], unfit

    async def keep_reading(self, table: AdTable) -> None:
        """Read the bonds of new advertisers, so that those with stake get a place on the board; until cancelled."""
        num_seen, look_s = -1, trio.current_time()
        while True:
            next_s = trio.current_time() + READ_EVERY_S
            if table.num_taken != num_seen or trio.current_time() >= look_s:
                num_seen, look_s = table.num_taken, trio.current_time() + LOOK_EVERY_S
                if unread := table.unread(UNPROVEN_MAX):
                    num_seen = -1  # more may be left
                    await self.read(await self._most_likely(unread))
                else:
                    await self.read(self.stale(table.live(), STALE_EACH))
            await trio.sleep_until(max(next_s, trio.current_time()))

    async def _most_likely(self, unread: Sequence[Advertisement]) -> list[Advertisement]:
        """The advertisers to read next: half of them by wallets that have answered here, the others as they come.

        Anyone may name another's wallet, so known wallets don't take all turns.
        """
        try:
            records = await trio.to_thread.run_sync(self._sellers.of, [ad.wallet for ad in unread])
        except LedgerError:
            return list(unread[:READ_EACH])
        known = [ad for ad in unread if records[ad.wallet].num_answers][: READ_EACH // 2]
        return [*known, *(ad for ad in unread if ad not in known)][:READ_EACH]

    def _refused(self, offers: Sequence[Advertisement]) -> list[Advertisement]:
        """Those that the chain spoke against over `WANTED_S` ago, the one asked about first before others."""
        asked_s, now_s = dict[str, float](), trio.current_time()
        for ad in offers:
            verdict = self._verdicts.get((ad.signer, ad.wallet))
            if verdict and verdict.error and verdict.asked_s + WANTED_S <= now_s < verdict.until_s:
                asked_s[ad.peer_id] = verdict.asked_s
        return sorted((ad for ad in offers if ad.peer_id in asked_s), key=lambda ad: asked_s[ad.peer_id])

    async def _vet(
        self, ad: Advertisement, errors: dict[str, ProtocolError | None], is_asked_again: bool = False
    ) -> None:
        key, now_s = (ad.signer, ad.wallet), trio.current_time()
        verdict = self._verdicts.get(key)
        if verdict is None or verdict.until_s <= now_s or is_asked_again:
            try:
                found = await self._in_time(self._ask(ad, asked_s=now_s))
            except ChainError as error:
                if self._is_good_unasked(key):
                    errors[ad.peer_id] = None
                elif is_asked_again and verdict:
                    errors[ad.peer_id] = verdict.error
                else:
                    errors[ad.peer_id] = UnavailableError(f"the chain can't be asked about its wallet: {error}")
                return
            except LedgerError as error:  # it is tried again, and the node goes on
                errors[ad.peer_id] = UnavailableError(f"this node's own record of it can't be read: {error}")
                return
            if found.error:
                again_s = UNFIT_KEPT_S
                if verdict and verdict.error:
                    again_s = verdict.kept_s * (1 if is_asked_again else 2)
                found = replace(found, kept_s=min(again_s, KEPT_S))
            verdict = found
            self._keep(key, verdict)
        errors[ad.peer_id] = verdict.error

    async def check_signer(self, signer: Address, wallet: Address) -> None:
        """Require that a key may sign for a wallet; if the chain can't be asked, that it could lately.

        Raises:
            BadSignatureError: it may not.
            ChainError: the chain can't be asked, and the wallet was not fit lately.
        """
        key = signer, wallet
        known = self._verdicts.get(key)
        if known and trio.current_time() < known.unasked_until_s:
            return
        try:
            may_sign = await self._in_time(self._may_sign(signer, wallet))
        except ChainError:
            if not self._is_good_unasked(key):
                raise
            return
        if not may_sign:
            raise BadSignatureError(f"{signer} may not sign for {wallet}, says the chain")

    def _is_good_unasked(self, key: tuple[Address, Address]) -> bool:
        """True if a seller was fit not long ago; call it when the chain could not be asked about it."""
        verdict, now_s = self._verdicts.get(key), trio.current_time()
        if verdict is None or verdict.error or now_s - verdict.asked_s > AWAY_S:
            return False
        self._keep(key, replace(verdict, unasked_until_s=now_s + AWAY_AGAIN_S))
        return True

    async def _in_time(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for the chain's answer.

        Raises:
            ChainError: the chain does not answer, or not in time.
        """
        try:
            with trio.fail_after(ASK_TIMEOUT_S):
                return await answer
        except trio.TooSlowError as error:
            raise ChainError(SILENT) from error

    def worth_of(self, ad: Advertisement) -> Worth:
        """The worth of an advertiser by what was last read; its bond is 0 if it is not fit.

        A seller that was not fit may have bonded meanwhile, so after a while it counts as not read.
        """
        verdict = self._verdicts.get((ad.signer, ad.wallet))
        if verdict is None or (not verdict.worth.is_bonded and verdict.until_s <= trio.current_time()):
            return NOT_READ
        return verdict.worth

    def stale(self, ads: Sequence[Advertisement], count_max: int) -> list[Advertisement]:
        """Advertisers whose bond was read long ago, the one that was read first before the others."""
        before_s, asked = trio.current_time() - STALE_S, dict[str, float]()
        for ad in ads:
            verdict = self._verdicts.get((ad.signer, ad.wallet))
            if verdict and verdict.worth.is_bonded and verdict.asked_s <= before_s:
                asked[ad.peer_id] = verdict.asked_s
        found = sorted((ad for ad in ads if ad.peer_id in asked), key=lambda ad: asked[ad.peer_id])
        return found[:count_max]

    async def read(self, ads: Sequence[Advertisement]) -> None:
        """Ask the chain about advertisers, a few at a time; those about which it can't be asked now are left out."""
        limiter = trio.CapacityLimiter(READ_AT_ONCE)
        errors: dict[str, ProtocolError | None] = {}

        async def vet(ad: Advertisement) -> None:
            async with limiter:
                await self._vet(ad, errors)

        async with trio.open_nursery() as nursery:
            for ad in {(ad.signer, ad.wallet): ad for ad in ads}.values():
                nursery.start_soon(vet, ad)

    def _keep(self, key: tuple[Address, Address], verdict: _Verdict) -> None:
        """Keep a verdict; strangers without a bond make room before sellers with one."""
        self._verdicts.pop(key, None)  # newest last
        self._verdicts[key] = verdict
        if len(self._verdicts) > KEPT_MAX:
            unbonded = (key for key, kept in self._verdicts.items() if not kept.worth.is_bonded)
            self._verdicts.pop(next(unbonded, next(iter(self._verdicts))))

    async def _ask(self, ad: Advertisement, *, asked_s: float) -> _Verdict:
        error: ProtocolError | None = None
        bonded_wei = ZERO_WEI
        if not await self._may_sign(ad.signer, ad.wallet):
            error = BadSignatureError(f"{ad.signer} may not sign for {ad.wallet}, says the chain")
        elif not (bonded_wei := await self._bond_of(ad.wallet)):
            error = UnavailableError(f"wallet {ad.wallet} has bonded less than the network's minimum stake")
        found = await trio.to_thread.run_sync(self._sellers.find, ad.wallet) if bonded_wei else SellerRecord()
        worth = Worth(bonded_wei=bonded_wei, num_answers=found.num_answers)
        return _Verdict(error=error, worth=worth, asked_s=asked_s)


class Exposure:
    """Bounds the streams that run with one wallet: at most one more than it has answered whole.

    Otherwise many requests at once would each pay a new wallet for a prompt before the first of them has failed.
    """

    def __init__(self, sellers: Sellers, now_ns: Callable[[], int]) -> None:
        self._sellers = sellers
        self._now_ns = now_ns
        self._running: Counter[Address] = Counter()
        self._left = trio.Event()  # replaced each time that a stream ends

    async def enter(self, wallet: Address, *, may_wait: bool) -> bool:
        """Count one more stream; False if the wallet is barred, or has no room and the caller may not wait."""
        while True:
            left = self._left
            record = await trio.to_thread.run_sync(self._sellers.find, wallet)
            if left.is_set():
                continue  # a stream ended meanwhile, and may have changed the record
            if why_barred(record, self._now_ns()):
                return False
            if self._running[wallet] <= record.successes + record.late:
                self._running[wallet] += 1
                return True
            if not may_wait:
                return False
            await left.wait()

    def leave(self, wallet: Address) -> None:
        """End a stream, after its outcome was noted."""
        self._running -= Counter({wallet: 1})  # drops what is zero
        self._left.set()
        self._left = trio.Event()


def why_barred(record: SellerRecord, now_ns: int) -> ProtocolError | None:
    """The reason for which a seller is not bought from now, if it kept money for answers that it did not finish."""
    if record.barred_until_ns <= now_ns:
        return None
    left_s = -(-(record.barred_until_ns - now_ns) // 10**9)
    return UnavailableError(f"its wallet was paid and did not finish its answer; it is called again in {left_s} s")
