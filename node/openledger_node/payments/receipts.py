"""Receipts for delivered answers: attributed, committed to the ledger, and only then signed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio
from cryptography.fernet import Fernet, InvalidToken

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.constants import FLAG_AUDITABLE
from openledger_protocol.eip712 import Domain, digest_word, hex_digest
from openledger_protocol.errors import BadSignatureError
from openledger_protocol.opening import Opening, opening_to_json, work_of
from openledger_protocol.payments import Receipt, nonce_commit, price_wei, receipt_digest
from openledger_protocol.primitives import ZERO_DIGEST, Digest, Wei
from openledger_protocol.signatures import check_signer
from openledger_protocol.wire.inference import Countersign, Open

from ..engine.tokenizer import Tokenizer
from ..errors import KeyFileError, LedgerError
from ..home import write_private
from ..ledger.ledger import Ledger
from ..ledger.receipts import Draft, ReceiptRow
from ..models.adapters import Adapter
from ..serving.service import RECORD_ATTEMPTS, RECORD_PAUSE_S
from .accounts import ChannelAccount, ChannelAccounts

FAIL_POINTS: Final = (
    "receipt:attributed",
    "receipt:committed",
    "receipt:signed",
    "receipt:stored",
    "receipt:countersign-checked",
    "receipt:countersigned",
)
"""Points at which a crash test may kill the node, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An answer as it was delivered to a payer."""

    opened: Open
    adapter: Adapter | None
    text: str
    ids: tuple[int, ...]
    tokens_in: int


Written = TypeVar("Written")
Attribute = Callable[[Delivered], tuple[Share, ...]]
"""Attributes an answer to contributors: for each Datanet of its adapter, shares that sum to 1,000,000 ppm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTerms:
    """Fields that are equal in every receipt of this node."""

    algo_id: int
    profile_hash: Digest


class ReceiptMaker:
    """Makes and signs receipts, one for each delivery."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        accounts: ChannelAccounts,
        domain: Domain,
        tokenizer: Tokenizer,
        same: ReceiptTerms,
        attribute: Attribute,
        sign: Callable[[bytes], bytes],
        seal: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._domain = domain
        self._tokenizer = tokenizer
        self._same = same
        self._attribute = attribute
        self._sign = sign
        self._seal = seal
        self._now_ns = now_ns
        self._fail_point = fail_point

    async def make(self, delivered: Delivered, account: ChannelAccount) -> tuple[ReceiptRow, bytes]:
        """Make the receipt of one answer and return it with its signature.

        Attribution has no time limit and comes before signing: with a limit, the receipt would depend on a clock, and
        nobody could recompute it.
        """
        shares = await trio.to_thread.run_sync(self._attribute, delivered)
        self._fail_point("receipt:attributed")
        async with account.settling:
            secured = await self._accounts.secured_wei(account)
            draft = self._draft(delivered, account, shares, secured)
            row = await _insist(lambda: self._ledger.receipts.commit(draft, now_ns=self._now_ns()))
            self._fail_point("receipt:committed")
            self._accounts.settle(account, delivered.opened.id, row.receipt.amount_wei)
        return row, await _insist(lambda: self._sign_row(row))

    async def countersign(self, opened: Open, message: Countersign) -> None:
        """Store the payer's countersignature of a receipt, and its nonce.

        Raises:
            BadSignatureError: the authorizer did not sign it, or the nonce differs from its commitment.
        """
        found = await trio.to_thread.run_sync(self._ledger.receipts.find, opened.id)
        if not found:
            raise BadSignatureError("there is no receipt to countersign yet")
        row = found[-1]
        check_signer(digest_word(row.digest), message.signature, opened.channel_config.authorizer)
        if nonce_commit(message.nonce) != row.receipt.nonce_commit:
            raise BadSignatureError("the nonce is not the one that the request committed to")
        self._fail_point("receipt:countersign-checked")
        countersign = self._ledger.receipts.countersign
        await trio.to_thread.run_sync(countersign, row.digest, message.signature, message.nonce)
        self._fail_point("receipt:countersigned")

    def recover(self) -> int:
        """Sign the receipts that a crash left unsigned, with the same bytes as before; return their count."""
        rows = self._ledger.receipts.unsigned()
        for row in rows:
            self._sign_row(row)
        return len(rows)

    def _sign_row(self, row: ReceiptRow) -> bytes:
        signature = self._sign(digest_word(row.digest))
        self._fail_point("receipt:signed")
        self._ledger.receipts.sign(row.digest, signature)
        self._fail_point("receipt:stored")
        return signature

    def _draft(
        self, delivered: Delivered, account: ChannelAccount, shares: tuple[Share, ...], secured_wei: Wei
    ) -> Draft:
        opened, exchange = delivered.opened, opening_of(delivered)
        manifest = delivered.adapter.manifest if delivered.adapter else None
        work = work_of(
            exchange,
            request_id=opened.id,
            adapter_id=opened.adapter,
            profile_hash=self._same.profile_hash,
            index_root=(manifest.index_root if manifest else None) or ZERO_DIGEST,
            tokens_in=delivered.tokens_in,
            canonical_ids=self._tokenizer.encode(delivered.text),
        )
        amount = price_wei(work.tokens_in, work.tokens_out, opened.award.terms)

        def build(seq: int, cumulative_wei: Wei) -> Receipt:
            return Receipt(
                channel_id=account.channel_id,
                seq=seq,
                adapter_id=opened.adapter,
                amount_wei=amount,
                cumulative_wei=cumulative_wei,
                algo_id=self._same.algo_id,
                flags=FLAG_AUDITABLE if opened.auditable else 0,
                nonce_commit=opened.nonce_commit,
                shares_hash=shares_hash(shares),
                work=work,
            )

        return Draft(
            build=build,
            digest=lambda receipt: hex_digest(receipt_digest(receipt, self._domain)),
            channel_id=account.channel_id,
            amount_wei=amount,
            shares=shares,
            secured_wei=secured_wei,
            opening=self._seal(opening_to_json(exchange)) if opened.auditable else None,
        )


async def _insist(write: Callable[[], Written]) -> Written:
    """Write, and retry for a while: a disk may be full for a moment, and the delivery must be charged.

    Raises:
        LedgerError: every attempt failed.
    """
    for _ in range(RECORD_ATTEMPTS - 1):
        try:
            return await trio.to_thread.run_sync(write)
        except LedgerError:
            await trio.sleep(RECORD_PAUSE_S)
    return await trio.to_thread.run_sync(write)


def opening_of(delivered: Delivered) -> Opening:
    """The exchange, with the salts that open its commitments: an audit may demand it."""
    opened = delivered.opened
    return Opening(
        messages=opened.messages,
        sampling=opened.sampling,
        prefix=opened.prefix,
        text=delivered.text,
        ids=delivered.ids,
        salts=opened.salts,
    )


# ---- Texts of auditable answers, encrypted until their claim is final: the database alone reveals no prompt.

KEY_FILE = "openings.key"


class Seal:
    """Encrypts and decrypts texts with a key file beside the ledger that only its owner can read."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Fernet(key)

    def seal(self, content: bytes) -> bytes:
        """Encrypt a text."""
        return self._cipher.encrypt(content)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a text that was encrypted with the same key.

        Raises:
            KeyFileError: it was encrypted with another key.
        """
        try:
            return self._cipher.decrypt(sealed)
        except InvalidToken as error:
            raise KeyFileError(
                f"this text was sealed with another {KEY_FILE}: restore that file from a backup"
            ) from error


def open_seal(folder: Path) -> Seal:
    """The seal of a network's folder; the first call generates its key.

    Raises:
        KeyFileError: the key is damaged.
    """
    file = folder / KEY_FILE
    if not file.exists():
        write_private(file, Fernet.generate_key().decode() + "\n", is_new=True)
    try:
        return Seal(file.read_bytes().strip())
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"{file} is not a valid key: restore it from a backup, or delete it and lose the texts sealed with it"
        ) from error
