"""Payment channels: their two sides, the highest voucher, and the amount charged so far."""

import json
import sqlite3
from dataclasses import dataclass

from openledger_protocol.codec import to_plain
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher
from openledger_protocol.primitives import ZERO_WEI, Address, ChannelId, Wei

from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel, as either of its two sides knows it."""

    channel_id: ChannelId
    config: ChannelConfig
    opened_ns: int  # when this side first learned of it
    ceiling_wei: Wei = ZERO_WEI  # of the highest voucher
    voucher: bytes | None = None  # its signature
    charged_wei: Wei = ZERO_WEI  # cumulative of the last receipt
    is_retired: bool = False  # of an earlier generation of this ledger: nothing more is signed on it

    @property
    def signed_voucher(self) -> SignedVoucher | None:
        """The highest voucher with its signature; None before the first."""
        if self.voucher is None:
            return None
        voucher = Voucher(channel_id=self.channel_id, max_claimable_wei=self.ceiling_wei)
        return SignedVoucher(voucher=voucher, signature=self.voucher)


class Channels:
    """Rows of channels; a row's ceiling and charge never fall."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ensure(self, channel_id: ChannelId, config: ChannelConfig, *, now_ns: int) -> Channel:
        """Return the channel's row, written now if there is none yet."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO channel (channel_id, payer, node, config, opened_ns, ceiling_wei, charged_wei)"
                " VALUES (?, ?, ?, ?, ?, '0', '0')",
                (channel_id, config.payer, config.node, json.dumps(to_plain(config)), now_ns),
            )
        found = self.find(channel_id)
        assert found is not None
        return found

    def raise_ceiling(self, signed: SignedVoucher) -> None:
        """Store a voucher before it is relied on or sent; one that is not higher than the last changes nothing."""
        voucher = signed.voucher
        with self._store.transaction() as transaction:
            known = self.find(voucher.channel_id)
            if known and voucher.max_claimable_wei > known.ceiling_wei:
                transaction.execute(
                    "UPDATE channel SET ceiling_wei = ?, voucher = ? WHERE channel_id = ?",
                    (str(voucher.max_claimable_wei), signed.signature, voucher.channel_id),
                )

    def charge(self, channel_id: ChannelId, cumulative_wei: Wei) -> None:
        """Store the cumulative charge of the channel's newest receipt; a lower one changes nothing."""
        with self._store.transaction() as transaction:
            known = self.find(channel_id)
            if known and cumulative_wei > known.charged_wei:
                transaction.execute(
                    "UPDATE channel SET charged_wei = ? WHERE channel_id = ?", (str(cumulative_wei), channel_id)
                )

    def find(self, channel_id: ChannelId) -> Channel | None:
        """Find one channel by its id."""
        row = self._store.row("SELECT * FROM channel WHERE channel_id = ?", (channel_id,))
        return _channel(row) if row else None

    def all(self) -> list[Channel]:
        """Every channel, oldest first."""
        return [_channel(row) for row in self._store.rows("SELECT * FROM channel ORDER BY opened_ns, channel_id")]

    def of_payer(self, payer: Address) -> list[Channel]:
        """A payer's channels, oldest first."""
        query = "SELECT * FROM channel WHERE payer = ? ORDER BY opened_ns, channel_id"
        return [_channel(row) for row in self._store.rows(query, (payer,))]


def _channel(row: sqlite3.Row) -> Channel:
    return Channel(
        channel_id=ChannelId(row["channel_id"]),
        config=ChannelConfig(**json.loads(row["config"])),
        opened_ns=row["opened_ns"],
        ceiling_wei=Wei(int(row["ceiling_wei"])),
        voucher=row["voucher"],
        charged_wei=Wei(int(row["charged_wei"])),
        is_retired=bool(row["is_retired"]),
    )
