"""Transactions that another program has signed: checks before they are sent, and their progress afterwards.

They stay beside the outbox. The outbox gives nonces, raises fees and signs again, and this node can do none of these
for a key that it does not have. Nothing is stored here, because the chain tells by the hash if it has a transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from openledger_protocol.errors import MalformedError, ProtocolError, RevertedError
from openledger_protocol.primitives import Address

from ..chain.call_words import describe_call
from ..chain.client import SendRefusedError
from ..chain.contracts import explain_revert
from ..chain.encoding import SignedTransaction, decode_signed
from ..chain.refusals import coins_text
from ..errors import ChainError, NodeError
from ..settlement.session import NetworkSession

NEW, PENDING = "new", "pending"
TRANSACTIONS_MAX = 100


class Submissions:
    """Checks signed transactions and brings them to the chain of one session."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session

    def inspect(self, raws: Sequence[str]) -> list[dict[str, Any]]:
        """Check signed transactions without sending them, and describe them in the order in which to send them.

        Raises:
            ProtocolError: one of them is malformed, unsigned or badly signed, or a contract refuses it.
            NodeError: it is for another chain, its nonce or its account can't be used, or it can't be paid for.
        """
        if not 1 <= len(raws) <= TRANSACTIONS_MAX:
            raise MalformedError(f"{len(raws)} transactions were given: give 1 to {TRANSACTIONS_MAX}")
        signed = {each.hash: each for place, raw in enumerate(raws, start=1) for each in [_decode(raw, place)]}
        ordered = sorted(signed.values(), key=lambda each: (each.sender, each.unsigned.nonce))
        queue = _Queue(self._session)
        return [self._inspect(each, queue) for each in ordered]

    def submit(self, raw: str) -> dict[str, Any]:
        """Send one signed transaction unless the chain has it, and tell its progress; calling it again is harmless.

        Raises:
            ProtocolError: as in `inspect`.
            NodeError: as in `inspect`, or the endpoint rejects it.
        """
        signed = _decode(raw, 1)
        if self._progress(signed)["state"] == NEW and self._may_send(signed):
            self._send(signed)
        return self._to_plain(signed)

    def _inspect(self, signed: SignedTransaction, queue: "_Queue") -> dict[str, Any]:
        self._check_chain(signed)
        shown = self._to_plain(signed)
        if shown["state"] == NEW:
            if queue.take(signed):
                self._simulate(signed)
        elif shown["state"] == PENDING:
            queue.skip(signed)
        return {**shown, "raw": "0x" + signed.raw.hex()}

    def _may_send(self, signed: SignedTransaction) -> bool:
        """Check a transaction again right before it is sent; False if it was mined between the requests."""
        self._check_chain(signed)
        try:
            _Queue(self._session).take(signed)
        except NodeError:
            if self._progress(signed)["state"] != NEW:
                return False
            raise
        self._simulate(signed)
        return True

    def _send(self, signed: SignedTransaction) -> None:
        session = self._session
        if session.state.health == "halted":
            raise ChainError(f"no money moves: {session.state.why}")
        try:
            session.client.send(signed.raw)
        except SendRefusedError as error:
            if error.reason != "known" and self._progress(signed)["state"] == NEW:
                raise ChainError(_refusal(error)) from error

    def _check_chain(self, signed: SignedTransaction) -> None:
        session, chain_id = self._session, signed.unsigned.chain_id
        if chain_id != session.network.chain_id:
            raise NodeError(
                f"this transaction is for chain {chain_id}, but {session.network.network} is on chain "
                f"{session.network.chain_id}: sign it for that chain, or join the other network"
            )

    def _simulate(self, signed: SignedTransaction) -> None:
        client, unsigned = self._session.client, signed.unsigned
        try:
            gas = client.estimate_gas(unsigned.call, sender=signed.sender)
        except RevertedError as error:
            raise explain_revert(error) from error
        if gas > unsigned.gas_limit:
            raise NodeError(
                f"it needs {gas:,} gas and allows {unsigned.gas_limit:,}: print it again with --unsigned, "
                "and sign that"
            )
        if (base_wei := client.fees().base_wei) > unsigned.price.fee_max_wei:
            raise NodeError(
                f"gas costs {base_wei} wei, and it pays at most {unsigned.price.fee_max_wei}: wait until gas is "
                "cheaper, or print it again with --unsigned, and sign that"
            )

    def _to_plain(self, signed: SignedTransaction) -> dict[str, Any]:
        unsigned = signed.unsigned
        said = describe_call(unsigned.call, self._session.deployment.addresses)
        return {
            "summary": said.text,
            "contract": said.contract,
            "is_known": said.is_known,
            "hash": signed.hash,
            "sender": signed.sender,
            "nonce": unsigned.nonce,
            "to": unsigned.call.to,
            "value_wei": str(unsigned.call.value_wei),
            "gas_limit": unsigned.gas_limit,
            "cost_max_wei": str(signed.cost_max_wei),
            **self._progress(signed),
        }

    def _progress(self, signed: SignedTransaction) -> dict[str, Any]:
        """State, block and fee of a transaction, by the chain."""
        client = self._session.client
        receipt = client.receipt(signed.hash)
        if receipt is None:
            state = PENDING if client.is_known(signed.hash) else NEW
            return {"state": state, "block": None, "fee_wei": None, "error": None}
        is_final = receipt.block_number <= client.finalized_number()
        state = ("final" if is_final else "mined") if receipt.is_ok else ("failed" if is_final else "reverted")
        return {
            "state": state,
            "block": receipt.block_number,
            "fee_wei": str(receipt.gas_used * receipt.gas_price_wei),
            "error": None if receipt.is_ok else self._why_reverted(signed, receipt.block_number),
        }

    def _why_reverted(self, signed: SignedTransaction, block_number: int) -> str:
        try:
            self._session.client.call(signed.unsigned.call, sender=signed.sender, block_number=block_number - 1)
        except RevertedError as error:
            return explain_revert(error).message
        except ChainError:
            pass  # an endpoint without older states can't tell
        return "the contract reverted it, and the endpoint can't tell why"


class _Queue:
    """Nonces and coins of the senders, as they will be once the transactions before are mined."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session
        self._chain_next: dict[Address, int] = {}
        self._next: dict[Address, int] = {}
        self._spent_wei: dict[Address, int] = {}

    def take(self, signed: SignedTransaction) -> bool:
        """Check a transaction's turn and its money; True if it is the very next, so that it can be simulated.

        Raises:
            NodeError: its nonce is used or not yet due, its account is the node's to use, or it lacks coins.
        """
        sender, nonce = signed.sender, signed.unsigned.nonce
        self._session.check_is_quiet(sender)
        expected = self._expected(sender)
        if nonce < expected:
            raise NodeError(
                f"nonce {nonce} is already used by another transaction of {sender}, whose next nonce is {expected}: "
                "print the command again with --unsigned, and sign that"
            )
        if nonce > expected:
            missing = str(expected) if nonce == expected + 1 else f"{expected} to {nonce - 1}"
            raise NodeError(
                f"nonce {nonce} of {sender} can't be mined yet, because nonce {missing} is missing: submit that "
                "transaction too, or wait until it is mined"
            )
        self._pay(signed)
        self._next[sender] = nonce + 1
        return nonce == self._chain_next[sender]

    def skip(self, signed: SignedTransaction) -> None:
        """Count a transaction that waits in the endpoint's pool."""
        expected = self._expected(signed.sender)
        self._next[signed.sender] = max(expected, signed.unsigned.nonce + 1)

    def _expected(self, sender: Address) -> int:
        if sender not in self._next:
            self._next[sender] = self._chain_next[sender] = self._session.client.nonce(sender)
        return self._next[sender]

    def _pay(self, signed: SignedTransaction) -> None:
        sender = signed.sender
        spent_wei = self._spent_wei[sender] = self._spent_wei.get(sender, 0) + signed.cost_max_wei
        if (balance_wei := self._session.client.coin_balance(sender)) < spent_wei:
            raise NodeError(
                f"{sender} has {coins_text(balance_wei)}, and this may cost {coins_text(spent_wei)}: send coins to "
                "that account, and check that it is the one that you signed with"
            )


def _decode(raw: str, place: int) -> SignedTransaction:
    """Decode one of the given transactions; an error names its place."""
    try:
        return decode_signed(bytes.fromhex(raw.strip().removeprefix("0x")))
    except (ValueError, AttributeError) as error:
        raise MalformedError(f"transaction {place} is not hex: give the signed bytes, 0x02…") from error
    except ProtocolError as error:
        raise MalformedError(f"transaction {place}: {error}") from error


def _refusal(error: SendRefusedError) -> str:
    reasons: Mapping[str, str] = {
        "underpriced": "it pays too little for gas: print it again with --unsigned, and sign that",
        "no_funds": "its account has too few coins for gas: send some to it",
        "nonce_too_low": "another transaction has used its nonce: print it again with --unsigned, and sign that",
    }
    return f"the endpoint rejects it: {reasons.get(error.reason, str(error)[:200])}"
