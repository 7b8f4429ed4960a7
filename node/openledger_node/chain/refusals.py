"""Why an endpoint does not take a transaction: each says it in words of its own, and no code tells it."""

import re
from typing import Final

from .client import Refusal

REFUSALS: Final[tuple[tuple[str, Refusal], ...]] = (
    ("already known", "known"),
    ("already imported", "known"),
    ("alreadyknown", "known"),
    ("known transaction", "known"),
    ("nonce too low", "nonce_too_low"),
    ("oldnonce", "nonce_too_low"),
    ("underpriced", "underpriced"),
    ("less than block base fee", "underpriced"),
    ("feetoolow", "underpriced"),
    ("insufficient funds", "no_funds"),
    ("insufficientfunds", "no_funds"),
    ("upfront cost exceeds", "no_funds"),
)
"""How geth, anvil, Nethermind and Besu say why they do not take a transaction, in lower case."""


def refusal_of(message: str) -> Refusal:
    """What an endpoint means by the words with which it does not take a transaction."""
    words = message.lower()
    # From a word's beginning: an unknown transaction type is no known transaction.
    return next((refusal for part, refusal in REFUSALS if re.search(f"(?<![a-z]){part}", words)), "other")
