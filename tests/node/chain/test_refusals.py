"""What endpoints mean by the words with which they do not take a transaction."""

import pytest

from openledger_node.chain.client import Refusal
from openledger_node.chain.rpc_client import refusal_of


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("already known", "known"),
        ("transaction already imported", "known"),
        ("AlreadyKnown", "known"),
        ("nonce too low: next nonce 5, tx nonce 3", "nonce_too_low"),
        ("OldNonce, Current nonce: 5, nonce of rejected tx: 3", "nonce_too_low"),
        ("replacement transaction underpriced", "underpriced"),
        ("max fee per gas less than block base fee: maxFeePerGas: 1, baseFee: 7", "underpriced"),
        ("FeeTooLow, MaxFeePerGas too low", "underpriced"),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", "no_funds"),
        ("Upfront cost exceeds account balance", "no_funds"),
        ("unknown transaction type 127", "other"),
    ],
)
def test_each_endpoints_words_mean_one_of_ours(message: str, refusal: Refusal) -> None:
    assert refusal_of(message) == refusal
