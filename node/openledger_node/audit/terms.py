"""Where all that was paid in has gone: one term for each role, and none of them is what the others leave."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .claims import Story
from .said import Said
from .stored import Stored

Terms = Mapping[str, int | Mapping[str, int]]

ROLES = ("nodes", "adapter_owners", "datanet_owners", "treasuries", "protocol")


def terms_of(said: Said, stored: Stored, claims: Sequence[Story]) -> Terms:
    """What came in, what was credited to whom, what went back to payers, and what is still held.

    What is credited counts as paid, taken out or not. Contributors are told apart by their accounts.
    """
    sums: Counter[str] = Counter()
    contributors: Counter[str] = Counter()
    for claim in claims:
        for credited, role in zip(claim.credited, claim.roles, strict=True):
            sums[role] += credited.amount_wei
            if role == "contributors":
                contributors[credited.account] += credited.amount_wei
    return {
        "paid_in": said.total("ChannelOpened", "ToppedUp"),
        **{role: sums[role] for role in ROLES},
        "contributors": dict(sorted(contributors.items())),
        "stakers": said.total("RewardsNotified"),
        "refunded": said.total("Refunded"),
        "payer_withdrawn": said.total("WithdrawFinished"),
        "in_channels": stored.in_channels,
        "in_claims": stored.live,
    }


def where_it_went(terms: Terms) -> int:
    """The sum of all terms but what was paid in."""
    return sum(_total(term) for name, term in terms.items() if name != "paid_in")


def terms_to_json(terms: Terms) -> dict[str, object]:
    """Wei as decimal strings."""
    return {
        name: str(term) if isinstance(term, int) else {account: str(wei) for account, wei in term.items()}
        for name, term in terms.items()
    }


def _total(term: int | Mapping[str, int]) -> int:
    return term if isinstance(term, int) else sum(term.values())
