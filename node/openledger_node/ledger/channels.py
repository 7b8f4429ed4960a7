"""Payment channels: their two sides, and for each adapter a lane with its highest voucher and the amount charged."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from openledger_protocol.codec import to_plain
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, ChannelId, Wei

from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One adapter's part of a channel."""

    channel_id: ChannelId
    adapter_id: AdapterId
    ceiling_wei: Wei = ZERO_WEI  # of the highest voucher
    voucher: bytes | None = None  # its signature
    charged_wei: Wei = ZERO_WEI  # cumulative of the lane's last receipt

    @property
    def signed_voucher(self) -> SignedVoucher | None:
        """The highest voucher with its signature; None before the first."""
        if self.voucher is None:
            return None
        voucher = Voucher(channel_id=self.channel_id, adapter_id=self.adapter_id, max_claimable_wei=self.ceiling_wei)
        return SignedVoucher(voucher=voucher, signature=self.voucher)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel, as either of its two sides knows it."""

    channel_id: ChannelId
    config: ChannelConfig
    opened_ns: int  # when this side first learned of it
    lanes: tuple[Lane, ...] = ()  # ascending by adapter
    is_retired: bool = False  # of an earlier generation of this ledger: nothing more is signed on it

    @property
    def ceiling_wei(self) -> Wei:
        """The most that the node may claim of the channel in all."""
        return Wei(sum(lane.ceiling_wei for lane in self.lanes))

    @property
    def charged_wei(self) -> Wei:
        """The sum of all receipts."""
        return Wei(sum(lane.charged_wei for lane in self.lanes))

    def lane(self, adapter_id: AdapterId) -> Lane:
        """The lane of an adapter; an empty one before its first voucher."""
        found = (lane for lane in self.lanes if lane.adapter_id == adapter_id)
        return next(found, Lane(channel_id=self.channel_id, adapter_id=adapter_id))


class Channels:
    """Rows of channels and lanes; a lane's ceiling and charge never fall."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ensure(self, channel_id: ChannelId, config: ChannelConfig, *, now_ns: int) -> Channel:
        """Return the channel's row, written now if there is none yet."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO channel (channel_id, payer, node, config, opened_ns) VALUES (?, ?, ?, ?, ?)",
                (channel_id, config.payer, config.node, json.dumps(to_plain(config)), now_ns),
            )
        found = self.find(channel_id)
        assert found is not None
        return found

    def raise_ceiling(self, signed: SignedVoucher) -> None:
        """Store a voucher before it is relied on or sent; one that is not higher than the last changes nothing."""
        voucher = signed.voucher
        with self._store.transaction() as transaction:
            if voucher.max_claimable_wei > self._lane(voucher.channel_id, voucher.adapter_id).ceiling_wei:
                transaction.execute(
                    "UPDATE lane SET ceiling_wei = ?, voucher = ? WHERE channel_id = ? AND adapter_id = ?",
                    (str(voucher.max_claimable_wei), signed.signature, voucher.channel_id, voucher.adapter_id),
                )

    def charge(self, channel_id: ChannelId, adapter_id: AdapterId, cumulative_wei: Wei) -> None:
        """Store the cumulative charge of a lane's newest receipt; a lower one changes nothing."""
        with self._store.transaction() as transaction:
            if cumulative_wei > self._lane(channel_id, adapter_id).charged_wei:
                transaction.execute(
                    "UPDATE lane SET charged_wei = ? WHERE channel_id = ? AND adapter_id = ?",
                    (str(cumulative_wei), channel_id, adapter_id),
                )

    def find(self, channel_id: ChannelId) -> Channel | None:
        """Find one channel by its id."""
        return next(iter(self._found("WHERE channel_id = ?", channel_id)), None)

    def all(self) -> list[Channel]:
        """Every channel, oldest first."""
        return self._found("ORDER BY opened_ns, channel_id")

    def of_payer(self, payer: Address) -> list[Channel]:
        """A payer's channels, oldest first."""
        return self._found("WHERE payer = ? ORDER BY opened_ns, channel_id", payer)

    def _lane(self, channel_id: ChannelId, adapter_id: AdapterId) -> Lane:
        """Return a lane's row, written now if there is none yet; call it in a transaction."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO lane (channel_id, adapter_id, ceiling_wei, charged_wei)"
                " VALUES (?, ?, '0', '0')",
                (channel_id, adapter_id),
            )
        (row,) = self._store.rows(
            "SELECT * FROM lane WHERE channel_id = ? AND adapter_id = ?", (channel_id, adapter_id)
        )
        return _lane(row)

    def _found(self, condition: str, *values: object) -> list[Channel]:
        lanes: dict[str, list[Lane]] = {}
        chosen = f"SELECT channel_id FROM channel {condition}"
        query = f"SELECT * FROM lane WHERE channel_id IN ({chosen}) ORDER BY adapter_id"
        for row in self._store.rows(query, values):
            lanes.setdefault(row["channel_id"], []).append(_lane(row))
        rows = self._store.rows(f"SELECT * FROM channel {condition}", values)
        return [_channel(row, lanes.get(row["channel_id"], ())) for row in rows]


def _lane(row: sqlite3.Row) -> Lane:
    return Lane(
        channel_id=ChannelId(row["channel_id"]),
        adapter_id=AdapterId(row["adapter_id"]),
        ceiling_wei=Wei(int(row["ceiling_wei"])),
        voucher=row["voucher"],
        charged_wei=Wei(int(row["charged_wei"])),
    )


def _channel(row: sqlite3.Row, lanes: Sequence[Lane]) -> Channel:
    return Channel(
        channel_id=ChannelId(row["channel_id"]),
        config=ChannelConfig(**json.loads(row["config"])),
        opened_ns=row["opened_ns"],
        lanes=tuple(lanes),
        is_retired=bool(row["is_retired"]),
    )
