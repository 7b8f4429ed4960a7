"""x402 payers as their seller sees them: the terms or why there are none, channels, and what is not claimed yet."""

from typing import Any, Final

from ..ledger.ledger import Ledger
from ..ledger.x402_channels import X402Row
from ..payments.x402_gateway import X402Gateway
from ..text import rfc3339

CHANNELS_SHOWN: Final = 50
OFF: Final = "the gateway is off, or [gateway] x402_facilitator is empty"


class X402Payers:
    """Shows payments by x402. Without a `gateway` nothing is offered, and earlier channels are still shown."""

    def __init__(self, ledger: Ledger, gateway: X402Gateway | None, *, why_not: str = OFF) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._why_not = why_not

    def show(self) -> dict[str, Any]:
        """The offer, the sums, and the newest channels."""
        gateway = self._gateway
        terms = gateway.terms if gateway else None
        return {
            "is_offered": terms is not None,
            "why_not": gateway.why_not if gateway else self._why_not,
            "network": terms.network if terms else None,
            "pay_to": terms.pay_to if terms else None,
            **x402_income(self._ledger),
            "channels": [_plain(row) for row in self._ledger.x402.all(limit=CHANNELS_SHOWN)],
        }


def x402_income(ledger: Ledger) -> dict[str, str]:
    """The sums of all x402 payers for JSON."""
    charged_wei, unclaimed_wei, cost_wei = ledger.x402.income_wei()
    return {"charged_wei": str(charged_wei), "unclaimed_wei": str(unclaimed_wei), "cost_wei": str(cost_wei)}


def _plain(row: X402Row) -> dict[str, Any]:
    return {
        "channel_id": row.channel_id,
        "payer": row.channel.payer,
        "charged_wei": str(row.charged_wei),
        "claimed_wei": str(row.claimed_wei),
        "unclaimed_wei": str(row.unclaimed_wei),
        "balance_wei": str(row.balance_wei),
        "withdraws_since": rfc3339(row.withdraw_since_s) if row.withdraw_since_s else None,
    }
