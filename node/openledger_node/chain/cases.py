"""The contract of cases about receipts, typed: its state, calls that change it, and what a challenge publishes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.cases import STATES, CaseState, CaseTexts
from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import Domain, hex_digest, keccak_digest
from openledger_protocol.errors import MalformedError
from openledger_protocol.payments import ChannelConfig, Receipt, Work, receipt_digest
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, ChannelId, DatanetId, Digest, Salt, Wei

from .contracts import SELECTOR_BYTES, load_contract
from .deployment import Deployment

CONTRACT: Final = "Disputes"
PLACES_MAX: Final = 16
"""Places in a transaction's input at which a challenge is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case about one receipt; its node is the zero address if there is none."""

    node: Address
    opened_at_s: int
    state: CaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The two sides of a node's open case, who have each put in the bond."""

    challenger: Address
    bond_wei: Wei
    contester: Address | None  # None while nobody contests


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """A node's earlier cases, in seconds; 0 if there was no such case."""

    slashed_at_s: int
    free_until_s: int  # until then no new case holds its stake


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Everything that a challenge sends to the contract."""

    config: ChannelConfig
    receipt: Receipt
    shares: tuple[Share, ...]
    node_signature: bytes
    texts: CaseTexts


class Disputes:
    """The cases of one network."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    # ---- state

    def case(self, digest: Digest) -> Case:
        """The case about the receipt with this digest."""
        row = self._deployment.ask(CONTRACT, "caseOf", digest)
        return Case(node=Address(row["node"]), opened_at_s=row["openedAt"], state=STATES[row["state"]])

    def sides(self, node: Address) -> Sides | None:
        """The sides of the open case against a node; None if it has none."""
        row = self._deployment.ask(CONTRACT, "sidesOf", node)
        if row["challenger"] == ZERO_ADDRESS:
            return None
        contester = None if row["contester"] == ZERO_ADDRESS else Address(row["contester"])
        return Sides(challenger=Address(row["challenger"]), bond_wei=Wei(row["bond"]), contester=contester)

    def record(self, node: Address) -> CaseRecord:
        """A node's last slash and its last draw, as far as they matter for new cases."""
        row = self._deployment.ask(CONTRACT, "recordOf", node)
        return CaseRecord(slashed_at_s=row["slashedAt"], free_until_s=row["freeUntil"])

    def balance_wei(self, account: Address) -> Wei:
        """The bonds and rewards that an account can withdraw."""
        return Wei(self._deployment.ask(CONTRACT, "balanceOf", account))

    def bond_now_wei(self) -> Wei:
        """The bond of a case that is opened now."""
        return Wei(self._deployment.ask(CONTRACT, "bondNow"))

    # ---- calls

    def challenge(self, challenge: Challenge) -> ContractCall:
        """Open a case; takes the bond of now from the sender, who is the channel's payer or its authorizer."""
        texts = challenge.texts
        return self._deployment.call(
            CONTRACT,
            "challenge",
            challenge.config,
            challenge.receipt,
            challenge.shares,
            challenge.node_signature,
            texts.prompt,
            texts.output,
        )

    def contest(self, digest: Digest) -> ContractCall:
        """Stand up for the node with the same bond, which is taken from the sender."""
        return self._deployment.call(CONTRACT, "contest", digest)

    def close(self, digest: Digest) -> ContractCall:
        """End a case that was not judged in time. Anybody may."""
        return self._deployment.call(CONTRACT, "close", digest)

    def withdraw(self, to: Address) -> ContractCall:
        """Withdraw all bonds and rewards of the sender."""
        return self._deployment.call(CONTRACT, "withdraw", to)


# ---- what a challenge has published


def read_challenge(sent: bytes, digest: Digest, domain: Domain) -> Challenge | None:
    """Find the challenge about a receipt in the input of the transaction that made it; None if it can't be read.

    A payer may be a contract, whose own input has the call somewhere inside, or in another form. So every place that
    looks like the call is read, and only what hashes to the receipt counts. `domain` is that of payments.
    """
    interface = load_contract(CONTRACT)
    for place in islice(_places(sent, interface.selector("challenge")), PLACES_MAX):
        try:
            found = _challenge(interface.decode_arguments("challenge", sent[place + SELECTOR_BYTES :]))
            if _is_about(found, digest, domain):
                return found
        except (MalformedError, ValueError):  # not the call, though it begins like it
            continue
    return None


def _places(sent: bytes, selector: bytes) -> Iterator[int]:
    place = sent.find(selector)
    while place >= 0:
        yield place
        place = sent.find(selector, place + 1)


def _is_about(found: Challenge, digest: Digest, domain: Domain) -> bool:
    work, texts = found.receipt.work, found.texts
    return (
        hex_digest(receipt_digest(found.receipt, domain)) == digest
        and shares_hash(found.shares) == found.receipt.shares_hash
        and keccak_digest(texts.prompt) == work.prompt_commit
        and keccak_digest(texts.output) == work.output_commit
    )


def _challenge(row: Any) -> Challenge:
    return Challenge(
        config=_config(row["config"]),
        receipt=_receipt(row["receipt"]),
        shares=tuple(
            Share(datanet_id=DatanetId(each["datanetId"]), account=Address(each["account"]), ppm=each["ppm"])
            for each in row["shares"]
        ),
        node_signature=_bytes(row["nodeSig"]),
        texts=CaseTexts(prompt=_bytes(row["prompt"]), output=_bytes(row["output"])),
    )


def _config(row: Any) -> ChannelConfig:
    return ChannelConfig(
        payer=Address(row["payer"]),
        authorizer=Address(row["authorizer"]),
        node=Address(row["node"]),
        withdraw_delay_s=row["withdrawDelay"],
        salt=Salt(row["salt"]),
    )


def _receipt(row: Any) -> Receipt:
    return Receipt(
        channel_id=ChannelId(row["channelId"]),
        seq=row["seq"],
        issued_at_s=row["issuedAt"],
        adapter_id=AdapterId(row["adapterId"]),
        amount_wei=Wei(row["amount"]),
        cumulative_wei=Wei(row["cumulative"]),
        algo_id=row["algoId"],
        shares_hash=Digest(row["sharesHash"]),
        work=_work(row["work"]),
    )


def _work(row: Any) -> Work:
    return Work(
        request_id=row["requestId"],
        profile_hash=row["profileHash"],
        index_root=row["indexRoot"],
        tokens_in=row["tokensIn"],
        tokens_out=row["tokensOut"],
        prompt_commit=row["promptCommit"],
        output_commit=row["outputCommit"],
        retrieval_hash=row["retrievalHash"],
        signals_hash=row["signalsHash"],
        fingerprint=row["fingerprint"],
    )


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])
