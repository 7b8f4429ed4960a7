"""Gas that a claim needs, from the contracts' measurements, before its transactions can be simulated."""

from typing import Final

from openledger_protocol.transactions import gas_limit_from_estimate

BASE_GAS, DRAWS_GAS, LANE_GAS, ACCOUNT_GAS = 410_000, 290_000, 50_000, 29_000
"""From `claim` to `finalize`: in any case, with a draw, for a new lane, and for a new account.

From claims with 1 to 100 receipts, 1 to 10 lanes and 0 to 20 accounts.
"""

DRAW_GAS: Final = 37_520
FINALIZE_GAS, OPENING_GAS, NEW_ACCOUNT_GAS, KNOWN_ACCOUNT_GAS = 170_000, 60_000, 31_000, 11_000
"""Of `finalize`: in any case, for each drawn point, and for each account that is credited.

From claims with 1 to 50 accounts and 4 to 16 draws.
"""


def show_gas_limit(*, num_draws: int, num_new: int, num_known: int) -> int:
    """The gas limits of `draw` and `finalize` together.

    `num_new` accounts of the payout list are credited for the first time, `num_known` were credited before.
    """
    finalize = FINALIZE_GAS + OPENING_GAS * num_draws + NEW_ACCOUNT_GAS * num_new + KNOWN_ACCOUNT_GAS * num_known
    return gas_limit_from_estimate(DRAW_GAS, b"") + gas_limit_from_estimate(finalize, b"")
