"""The money after all kills of `chaos.py`: claims, ledgers and the chain compared, to the wei."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
from chaos_load import Asked, Ending, opened
from chaos_world import World, in_parallel, knows

from openledger_node.audit.report import audit
from openledger_node.chain.deployment import Deployment
from openledger_node.demo.processes import DemoError, OperatorHome, wait_for
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.plugs import load_plug

ALL: Final = 1_000_000
FINAL_TIMEOUT_S: Final = 600.0
TURN_TIMEOUT_S: Final = 60.0
TURN_TOKENS: Final = 100
CHUNK_TOKENS: Final = 32
RISKED_CHUNKS: Final = 4
"""Chunks at most that are charged and not delivered each time that a stream breaks: streams at one node share a
ceiling, and one may use what was paid ahead for others."""


@dataclass(kw_only=True)
class Books:
    """Receipts of all sellers and payers, and what is wrong with them."""

    sold: dict[str, list[ReceiptRow]] = field(default_factory=dict)  # by seller
    num_claims: int = 0
    claimed_wei: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def num_receipts(self) -> int:
        """The number of receipts of all sellers."""
        return sum(map(len, self.sold.values()))


def call_in_turn(world: World) -> dict[str, Any]:
    """Have the first payer buy from each seller while all others are paused; a receipt that was lost shows then."""
    gateway = world.payers[0]
    in_parallel(partial(order, seller, "/pause") for seller in world.sellers)
    served: list[str] = []
    failed: dict[str, str] = {}
    with opened(gateway) as client:
        for seller in world.sellers:
            wallet = world.wallets[seller.name]
            order(seller, "/resume")
            try:
                wait_for(f"{seller.name} sells", partial(knows, gateway, {wallet}), timeout_s=TURN_TIMEOUT_S)
                wait_for(f"{seller.name} answers", partial(answers, client), timeout_s=TURN_TIMEOUT_S)
                served.append(seller.name)
            except DemoError as error:
                failed[seller.name] = str(error)[:300]
            order(seller, "/pause")
    in_parallel(partial(order, seller, "/resume") for seller in world.sellers)
    return {"sellers": len(world.sellers), "answered": len(served), "failed": failed}


def answers(client: httpx.Client) -> bool:
    """Ask once; False if the same request may be sent again.

    Raises:
        DemoError: it failed for good.
    """
    call = Asked(question=0, max_tokens=TURN_TOKENS, began_s=time.monotonic())
    call.read(client)
    ending = call.ending(call.text)
    if ending is Ending.LOST:
        raise DemoError(call.why())
    return ending is Ending.SERVED


def order(node: OperatorHome, path: str) -> None:
    """Give a node an order of its operator's."""
    node.ask(path, {})


def wait_until_final(world: World) -> None:
    """Wait until each receipt is in a claim, and no claim is under way."""
    for seller in world.sellers:
        wait_for(f"the claims of {seller.name} are final", partial(is_final, seller), timeout_s=FINAL_TIMEOUT_S)


def is_final(seller: OperatorHome) -> bool:
    rewards = seller.ask("/money/rewards")
    return {claim["state"] for claim in rewards["claims"]} <= {"final", "refused"} and not rewards["num_unclaimed"]


def check_books(world: World, asked: Sequence[Asked]) -> Books:
    """Compare each seller's ledger with the payers' and with the chain, and audit the chain."""
    books = Books()
    with closing(load_plug("chain", "evm")(world.network.rpc[0])) as client:
        network = world.network
        addresses, block = network.contracts, network.deploy_block
        deployment = Deployment(client, chain_id=network.chain_id, addresses=addresses, deploy_block=block)
        for seller in world.sellers:
            books.faults += [f"{seller.name}: {fault}" for fault in seller_faults(world, seller, deployment, books)]
        for payer in world.payers:
            books.faults += [f"{payer.name}: {fault}" for fault in payer_faults(world, payer, books)]
        books.faults += charge_faults(books, asked)
        report = audit(client, network)
    if not report.holds:
        books.faults += [f"the audit does not hold: {line.id}" for line in report.lines if not line.holds]
        books.faults += list(report.faults)
    return books


def seller_faults(world: World, seller: OperatorHome, deployment: Deployment, books: Books) -> Iterator[str]:
    """Require that each receipt is in exactly one claim, and that the chain paid out what the receipts are worth."""
    with world.ledger(seller) as ledger:
        receipts = ledger.receipts.newest(limit=ALL)
        claims = [claim for claim in ledger.claims.newest() if claim.state == "final"]
        claimed = [row.digest for claim in claims for row in ledger.receipts.of_claim(claim.claim_id)]
        channels = ledger.channels.all()
    books.sold[seller.name] = receipts
    books.num_claims += len(claims)
    yield from claim_faults(claimed, receipts)
    for channel in channels:
        amount_wei = sum(row.receipt.amount_wei for row in receipts if row.receipt.channel_id == channel.channel_id)
        claimed_wei = deployment.channel(channel.channel_id).claimed_wei
        books.claimed_wei += claimed_wei
        if not amount_wei == channel.charged_wei == claimed_wei:
            yield (
                f"channel {channel.channel_id}: receipts of {amount_wei} wei, {channel.charged_wei} charged, "
                f"{claimed_wei} claimed on the chain"
            )
    sums_wei = sum(claim.gross_wei for claim in claims), sum(row.receipt.amount_wei for row in receipts)
    if sums_wei[0] != sums_wei[1]:
        yield f"claims of {sums_wei[0]} wei, receipts of {sums_wei[1]} wei"


def claim_faults(claimed: Sequence[str], receipts: Sequence[ReceiptRow]) -> Iterator[str]:
    """Receipts that are in two claims, or in none."""
    twice = [digest for digest, num in Counter(claimed).items() if num > 1]
    missing = {row.digest for row in receipts} - set(claimed)
    if twice:
        yield f"{len(twice)} receipts are in two claims: {twice[0]}"
    if missing:
        yield f"{len(missing)} receipts are in no claim: {min(missing)}"


def payer_faults(world: World, payer: OperatorHome, books: Books) -> Iterator[str]:
    """Require that a payer keeps no receipt that its seller does not know, and was charged no more than it signed."""
    sold = {row.digest: row for rows in books.sold.values() for row in rows}
    with world.ledger(payer) as ledger:
        bought = ledger.receipts.newest(limit=ALL)
        channels = ledger.channels.all()
    if strange := [row.digest for row in bought if row.digest not in sold]:
        yield f"{len(strange)} receipts that no seller knows: {strange[0]}"
    for channel in channels:
        amounts = [row.receipt.amount_wei for row in sold.values() if row.receipt.channel_id == channel.channel_id]
        if not channel.charged_wei <= sum(amounts) <= channel.ceiling_wei:
            yield (
                f"channel {channel.channel_id}: {channel.charged_wei} wei known as charged, receipts of "
                f"{sum(amounts)}, vouchers up to {channel.ceiling_wei}"
            )


def charge_faults(books: Books, asked: Sequence[Asked]) -> Iterator[str]:
    """Require that no answer has two receipts of one channel, and that none was charged twice."""
    rows = [row.receipt for each in books.sold.values() for row in each]
    pairs = Counter((row.work.request_id, row.channel_id) for row in rows)
    yield from (
        f"request {request} has {num} receipts of a channel" for (request, _), num in pairs.items() if num > 1
    )
    charged, parts = Counter[str](), Counter[str]()
    for row in rows:
        charged[row.work.request_id] += row.work.tokens_out
        parts[row.work.request_id] += 1
    for call in asked:
        most = call.max_tokens + RISKED_CHUNKS * CHUNK_TOKENS * parts[call.request_id]
        if charged[call.request_id] > most:
            yield (
                f"request {call.request_id} of {call.max_tokens} tokens was charged {charged[call.request_id]} in "
                f"{parts[call.request_id]} parts"
            )
