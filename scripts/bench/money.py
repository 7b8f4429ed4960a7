"""What money costs: gas of each step from a claim to a withdrawal, and signatures a second on one core.

Gas is that of real transactions on the simulated chain. `--json` prints one object on the last line. `--quick` takes
fewer receipts and signatures, so its openings cost less than real ones, and its speeds mean nothing.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bars import Bar, bar, environment, show_bars

from openledger_node.chain.dev.constants import BANK_KEY, DEVELOPMENT_PARAMS, DEVELOPMENT_WINDOWS
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.settlement import ClaimFor, Item, claim_for_digest
from openledger_protocol.signatures import address_of, check_signer, sign_digest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.chain_world.claimed_work import (  # noqa: E402  # the tests' chain
    Answer,
    Lane,
    claim_work,
    list_of,
    root_of,
    shown,
)
from support.chain_world.contract_world import (  # noqa: E402
    ADAPTERS,
    OPEN,
    STRANGER_KEY,
    ContractWorld,
    open_contract_world,
)
from support.signed import NODE, SIGNER, SIGNER_KEY, account  # noqa: E402

SCHEMA: Final = "openledger.bench_money/1"

ADAPTER: Final = ADAPTERS[2:3]
"""An adapter of one Datanet, so that a claim of it has one pot."""

LANES, MANY_LANES, RECEIPTS, QUICK_RECEIPTS = 10, 100, 100, 10  # receipts of each lane
GROUP, GROUPS = 10, 5  # contributors of one receipt; such groups in a list of fifty
DRAWS, DRAWS_MAX = 4, 16
PRICE_WEI = OPEN // 100
DEPOSIT_WEI = 1_000 * OPEN
KEYS: Final = [(0xA0000 + number).to_bytes(32, "big") for number in range(100)]
"""Of the contributors that withdraw."""

ROUNDS, SIGNATURES, QUICK_SIGNATURES = 5, 4_000, 100

GAS: Final = {
    "claim_10_lanes": (340_000, "lanes that were claimed before; {claim_10_first:,} the first time"),
    "claim_100_lanes_each": (24_000, "the same; {claim_100_first_each:,} the first time"),
    "propose_50": (290_000, ""),
    "draw": (40_000, ""),
    "opening": (66_000, "a receipt of ten contributors, among {receipts:,}"),
    "finalize_new_account": (40_000, ""),
    "finalize_known_account": (12_000, ""),
    "withdraw": (60_000, "to a wallet that has OPEN; {withdraw_first:,} to one that has none"),
    "relayed_100_each": (35_000, "to wallets that have OPEN"),
}
"""The most gas of each step, and what was measured."""

RATES: Final = {"signing": 8_000, "verifying": 6_000}
"""The fewest signatures a second of processor time."""


# ---- gas


@dataclass(frozen=True, kw_only=True)
class ListGas:
    """Gas of a payout list, from its proposal to its end."""

    propose: int
    draw: int
    finalize: int


def measure_gas(num_receipts: int) -> dict[str, int]:
    """Gas of each step by name; an opening and an account are differences between lists."""
    with open_world(DRAWS) as world:
        lists = measure_lists(world, num_receipts)
        claims = measure_claims(world)
        withdrawals = measure_withdrawals(world)
    with open_world(DRAWS_MAX) as world:
        most = measure_lists(world, num_receipts)
    known, num_accounts = lists["known"].finalize, GROUP * GROUPS
    known_account = (known - lists["few"].finalize) // (num_accounts - GROUP)
    return {
        **claims,
        "propose_50": lists["new"].propose,
        "draw": lists["new"].draw,
        "opening": (most["known"].finalize - known) // (DRAWS_MAX - DRAWS),
        "finalize_new_account": known_account + (lists["new"].finalize - known) // num_accounts,
        "finalize_known_account": known_account,
        **withdrawals,
        "finalize_50_new": lists["new"].finalize,
        "receipts": LANES * num_receipts,
    }


@contextmanager
def open_world(draws: int) -> Iterator[ContractWorld]:
    """A chain of its own that draws so many points of each list."""
    world: ContractWorld = open_contract_world(params=replace(DEVELOPMENT_PARAMS, draws=draws))
    with closing(world.chain.client):
        yield world


def measure_claims(world: ContractWorld) -> dict[str, int]:
    ten_first, ten = (claim_gas(world, lanes) for lanes in twice(world, LANES))
    many_first, many = (claim_gas(world, lanes) for lanes in twice(world, MANY_LANES))
    return {
        "claim_10_first": ten_first,
        "claim_10_lanes": ten,
        "claim_100_first_each": many_first // MANY_LANES,
        "claim_100_lanes_each": many // MANY_LANES,
    }


def twice(world: ContractWorld, num_lanes: int) -> Iterator[list[Item]]:
    """The items of so many channels for two claims, the second from where the first ends."""
    configs = [world.open(DEPOSIT_WEI) for _ in range(num_lanes)]
    for start in (0, PRICE_WEI):
        yield [world.item(PRICE_WEI, start=start, config=config, adapters=ADAPTER) for config in configs]


def claim_gas(world: ContractWorld, items: Sequence[Item]) -> int:
    record, _, receipt = world.claim(items, ADAPTER)
    assert record.gross_wei == PRICE_WEI * len(items), "an item was skipped"
    return receipt.gas_used


def measure_lists(world: ContractWorld, num_receipts: int) -> dict[str, ListGas]:
    """Lists of fifty accounts, new and known, and of ten of them, after one that all others are known from."""
    configs = [world.open(DEPOSIT_WEI) for _ in range(LANES)]
    fifty = [tuple(account(0xD000 + group * GROUP + place) for place in range(GROUP)) for group in range(GROUPS)]
    lists: dict[str, list[tuple[Address, ...]]] = {
        "first": [(account(0xC000),)],
        "new": fifty,
        "known": fifty,
        "few": fifty[:1],
    }
    return {name: list_gas(world, configs, groups, num_receipts) for name, groups in lists.items()}


def list_gas(
    world: ContractWorld, configs: Sequence[ChannelConfig], groups: Sequence[tuple[Address, ...]], num_receipts: int
) -> ListGas:
    """Claim a lane of each channel, with receipts that name the groups in turn, and make it final."""
    answers = tuple(Answer(amount=PRICE_WEI, owners=groups[n % len(groups)]) for n in range(num_receipts))
    lanes = [Lane(adapter=0, channel=channel, answers=answers) for channel in range(len(configs))]
    line = claim_work(world, lanes, configs, adapters=ADAPTER)
    listed = list_of(line)
    assert len(listed.payouts) == sum(map(len, groups))
    propose = world.propose(line.record, listed.payouts, root=root_of(line, listed))
    world.wait(DEVELOPMENT_WINDOWS.window_s)
    draw = world.must("AttributionRewards", "draw", NODE, line.record.seq, key=SIGNER_KEY)
    seed = world.chain.client.mine().hash
    openings = shown(world, line, listed, seed)
    assert len(openings) == world.params.draws
    world.wait(1)
    final = world.finalize(line.record, listed.payouts, openings)
    return ListGas(propose=propose.gas_used, draw=draw.gas_used, finalize=final.gas_used)


def measure_withdrawals(world: ContractWorld) -> dict[str, int]:
    """Withdrawals of a hundred contributors, the first two by themselves and then all of them relayed."""
    owners = [address_of(key) for key in KEYS]
    list_gas(world, [world.open(DEPOSIT_WEI)], [(owner,) for owner in owners], len(owners))
    for owner in owners:
        world.must("OpenToken", "transfer", owner, 1, key=BANK_KEY)
    world.chain.fund(owners[0])
    withdrawn = [
        world.must("AttributionRewards", "withdraw", to, OPEN // 10_000, key=KEYS[0]).gas_used
        for to in (account(0xE000), owners[0])
    ]
    claims = [
        ClaimFor(account=owner, to=owner, amount_wei=Wei(1_000), nonce=0, deadline_s=world.now_s + 100)
        for owner in owners
    ]
    signatures = [
        sign_digest(key, claim_for_digest(claim, world.rewards)) for key, claim in zip(KEYS, claims, strict=True)
    ]
    relayed = world.must("AttributionRewards", "withdrawFor", claims, signatures, key=STRANGER_KEY)
    assert world.chain.read("OpenToken", "balanceOf", owners[-1]) == 1_001, "a withdrawal was skipped"
    return {
        "withdraw_first": withdrawn[0],
        "withdraw": withdrawn[1],
        "relayed_100_each": relayed.gas_used // len(owners),
    }


# ---- signatures


def measure_rates(count: int) -> dict[str, float]:
    """Signatures a second of processor time, the best of a few rounds, since others may use the same core."""
    digests = [number.to_bytes(32, "big") for number in range(1, count + 1)]
    signed = [(digest, sign_digest(SIGNER_KEY, digest), SIGNER) for digest in digests]
    return {
        "signing": best_rate(lambda: [sign_digest(SIGNER_KEY, digest) for digest in digests], count),
        "verifying": best_rate(lambda: check_all(signed), count),
    }


def check_all(signed: Sequence[tuple[bytes, bytes, Address]]) -> None:
    for digest, signature, signer in signed:
        check_signer(digest, signature, signer)


def best_rate(work: Callable[[], object], count: int) -> float:
    return max(count / processor_s(work) for _ in range(ROUNDS))


def processor_s(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


# ---- bars


def measure(*, is_quick: bool) -> dict[str, Any]:
    load = os.getloadavg()[0]
    gas = measure_gas(QUICK_RECEIPTS if is_quick else RECEIPTS)
    rates = measure_rates(QUICK_SIGNATURES if is_quick else SIGNATURES)
    return {
        "schema": SCHEMA,
        "bench": "money",
        "quick": is_quick,
        "bars": [*gas_bars(gas), *rate_bars(rates)],
        "env": environment(load, threads=1),
        "runs": {"gas": gas, "signatures": rates},
    }


def gas_bars(gas: dict[str, int]) -> list[Bar]:
    return [
        bar(name, gas[name], "gas", goal, better="lower", why=why.format(**gas)) for name, (goal, why) in GAS.items()
    ]


def rate_bars(rates: dict[str, float]) -> list[Bar]:
    why = "of processor time on one core"
    return [bar(name, rates[name], "a second", goal, why=why) for name, goal in RATES.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    words = parser.parse_args()
    found = measure(is_quick=words.quick)
    show_bars("What money costs", found["bars"])
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
