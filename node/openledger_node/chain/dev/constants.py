"""Properties of every development chain, embedded or anvil."""

from typing import Final

from openledger_protocol.epoch import Params, Voting, Windows
from openledger_protocol.primitives import Address, Wei

from ...errors import ChainError

HOST: Final = "127.0.0.1"
"""Loopback only, because the bank's key is public and the money is worthless."""

EMBEDDED_CHAIN_ID: Final = 1337
"""The id that wallets use for a local chain. Anvil has another one, so read the id and never assume it."""

BANK_KEY: Final = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
BANK: Final = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
"""The account that has all coins at first. Its key is public: the first one of the usual test mnemonic."""

BANK_COINS_WEI: Final = Wei(10_000 * 10**18)
"""Anvil gives it the same amount."""

BLOCK_INTERVAL_S: Final = 1.0
FINALITY_DEPTH: Final = 2

DEVELOPMENT_WINDOWS: Final = Windows(
    epoch_s=30,
    propose_s=60,
    window_s=10,
    redraw_blocks=16,
    slash_gap_s=60,
    unbonding_s=120,
    withdraw_delay_min_s=10,
    withdraw_delay_max_s=3600,
    withdraw_period_s=7 * 86_400,
)
DEVELOPMENT_WITHDRAW_DELAY_S: Final = 40

DEVELOPMENT_VOTING: Final = Voting(
    delay_s=5, period_s=30, timelock_s=10, threshold_wei=Wei(100 * 10**18), quorum_floor_wei=Wei(100 * 10**18)
)

DEVELOPMENT_PARAMS: Final = Params(
    protocol_ppm=50_000,
    data_ppm=200_000,
    min_stake_wei=Wei(100 * 10**18),
    min_deposit_wei=Wei(10**16),
    adapter_bond_wei=Wei(10 * 10**18),
    draws=4,
    algo_id=1,
    credit_tokens_max=32,
    least_context=2_048,
    guide_price_wei=Wei(4 * 10**15),
)
DEVELOPMENT_SUPPLY_WEI: Final = Wei(1_000_000_000 * 10**18)
"""The whole supply of OPEN, which the bank has at first."""


IN_USE_WAIT_S: Final = 10.0
"""The chain of a node that was killed ends a moment after it, and the node's next start must not fail for that."""


class InUseError(ChainError):
    """Another process runs the chain; it may be about to end."""


class StoreFullError(ChainError):
    """The disk is full; nothing was written, and the next try may succeed."""


def port_taken(port: int, error: OSError) -> ChainError:
    """The error for a port that another program uses."""
    return ChainError(
        f"can't listen on port {port} ({error.strerror}): end the program that does, or choose another --port"
    )
