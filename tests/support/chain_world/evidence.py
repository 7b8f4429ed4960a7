"""Receipts with their texts, as a payer sends them to open a case."""

from dataclasses import dataclass, replace

from eth_hash.auto import keccak

from openledger_protocol.attribution import Share
from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.payments import ChannelConfig, Receipt, channel_id, receipt_digest
from openledger_protocol.primitives import DatanetId, Digest, Wei
from openledger_protocol.signatures import sign_digest

from ..signed import SIGNER_KEY, WORK, account, digest, plain_receipt


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A receipt, its shares and texts, and the node's signature."""

    config: ChannelConfig
    receipt: Receipt
    shares: tuple[Share, ...]
    signature: bytes
    prompt: bytes
    output: bytes
    digest: Digest

    @property
    def arguments(self) -> tuple[object, ...]:
        """The arguments of `challenge`."""
        return self.config, self.receipt, self.shares, self.signature, self.prompt, self.output


def evidence(
    config: ChannelConfig, payments: Domain, number: int, *, now_s: int, key: bytes = SIGNER_KEY
) -> Evidence:
    """The receipt of this number on a channel, issued now, and signed by a key of the node."""
    salt = number.to_bytes(32, "big")
    prompt, output = salt + b"a prompt", salt + b"an answer"
    shares = (Share(datanet_id=DatanetId(digest("d")), account=account(0x100), ppm=1_000_000),)
    commits = (Digest("0x" + keccak(text).hex()) for text in (prompt, output))
    prompt_commit, output_commit = commits
    receipt = plain_receipt(
        1,
        shares,
        channel_id=channel_id(config, payments),
        seq=number,
        issued_at_s=now_s,
        work=replace(WORK, prompt_commit=prompt_commit, output_commit=output_commit),
        cumulative_wei=Wei(number),
    )
    hashed = receipt_digest(receipt, payments)
    return Evidence(
        config=config,
        receipt=receipt,
        shares=shares,
        signature=sign_digest(key, hashed),
        prompt=prompt,
        output=output,
        digest=hex_digest(hashed),
    )
