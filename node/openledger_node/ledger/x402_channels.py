"""x402 channels: each one's newest voucher, what was charged on it, and its state on the chain as last read.

A charge and the voucher that covers it are one transaction, written before the answer leaves.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Final

from openledger_protocol.primitives import ZERO_WEI, ChannelId, RequestId, Wei
from openledger_protocol.x402 import X402Channel, X402Voucher, x402_channel_from_plain

from .store import Store

LOST_S: Final = 7 * 86_400
"""Time after which a charge that the channel can't pay counts as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Row:
    """One channel. The amounts are cumulative."""

    channel_id: ChannelId
    channel: X402Channel
    charged_wei: Wei  # for all answers so far
    signed_wei: Wei  # the ceiling of the newest voucher; 0 before the first
    signature: bytes
    claimed_wei: Wei  # on the chain, as last read
    balance_wei: Wei  # the same
    withdraw_since_s: int  # when the payer has begun to withdraw; 0: they have not
    synced_s: int
    unclaimed_since_s: int  # the first charge after the last claim; 0: nothing is unclaimed

    @property
    def unclaimed_wei(self) -> Wei:
        """The owner's money that is not claimed yet, as far as the channel still has it."""
        claimable = min(self.charged_wei, self.balance_wei) if self.synced_s else self.charged_wei
        return Wei(max(ZERO_WEI, claimable - self.claimed_wei))


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Charge:
    """The charge of one answer."""

    request_id: RequestId
    voucher: X402Voucher
    channel: X402Channel
    before_wei: Wei  # charged on the channel before this answer
    charged_wei: Wei
    cost_wei: Wei  # what the network charged
    now_s: int
    balance_wei: Wei = ZERO_WEI  # of the channel, kept with its first charge


class X402Channels:
    """Rows of channels and charges, which are never deleted."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, channel_id: ChannelId) -> X402Row | None:
        """Find a channel; None if no answer was charged on it."""
        row = self._store.row("SELECT * FROM x402_channel WHERE channel_id = ?", (channel_id,))
        return _row(row) if row else None

    def charge(self, charge: X402Charge) -> Wei:
        """Store a charge with its voucher, and return what the channel is charged in all.

        A charge that does not follow what is stored is our own mistake and fails an assertion, so no amount is
        charged twice. The newest voucher may have a lower ceiling than the one before: that covered a larger request.
        """
        total = Wei(charge.before_wei + charge.charged_wei)
        voucher = charge.voucher
        assert total <= voucher.max_claimable_wei, "a charge is covered by its voucher"
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO x402_channel (channel_id, config, charged_wei, balance_wei)"
                " VALUES (?, ?, '0', ?)",
                (voucher.channel_id, json.dumps(charge.channel.to_plain()), str(charge.balance_wei)),
            )
            row = self.find(voucher.channel_id)
            # The chain may say more than our rows, after a restore from a backup, and never less.
            assert row is not None
            assert row.charged_wei <= charge.before_wei, "charges follow each other"
            since_s = row.unclaimed_since_s or charge.now_s
            transaction.execute(
                "UPDATE x402_channel SET charged_wei = ?, signed_wei = ?, signature = ?, unclaimed_since_s = ?"
                " WHERE channel_id = ?",
                (str(total), str(voucher.max_claimable_wei), voucher.signature, since_s, voucher.channel_id),
            )
            transaction.execute(
                "INSERT INTO x402_charge (request_id, channel_id, charged_s, charged_wei, cost_wei)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    charge.request_id,
                    voucher.channel_id,
                    charge.now_s,
                    str(charge.charged_wei),
                    str(charge.cost_wei),
                ),
            )
        return total

    def sync(
        self, channel_id: ChannelId, *, balance_wei: Wei, claimed_wei: Wei, withdraw_since_s: int, now_s: int
    ) -> None:
        """Store what the chain says of a channel; a channel that is not stored changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE x402_channel SET balance_wei = ?, claimed_wei = ?, withdraw_since_s = ?, synced_s = ?"
                " WHERE channel_id = ?",
                (str(balance_wei), str(claimed_wei), withdraw_since_s, now_s, channel_id),
            )
            row = self.find(channel_id)
            if row:
                transaction.execute(
                    "UPDATE x402_channel SET unclaimed_since_s = ? WHERE channel_id = ?",
                    (_unclaimed_since_s(row, now_s), channel_id),
                )

    def unclaimed(self) -> list[X402Row]:
        """Channels with charges that are not claimed, the oldest first."""
        rows = self._store.rows(
            "SELECT * FROM x402_channel WHERE unclaimed_since_s > 0 ORDER BY unclaimed_since_s, channel_id"
        )
        return [_row(row) for row in rows]

    def all(self, *, limit: int) -> list[X402Row]:
        """All channels, the newest first."""
        return [
            _row(row) for row in self._store.rows("SELECT * FROM x402_channel ORDER BY rowid DESC LIMIT ?", (limit,))
        ]

    def income_wei(self, *, since_s: int = 0) -> tuple[Wei, Wei, Wei]:
        """The charges of all payers since a moment, what is not claimed now, and the cost of their answers."""
        since = "FROM x402_charge WHERE charged_s >= ?"
        charged = self._store.sum_wei("charged_wei", since, (since_s,))
        cost = self._store.sum_wei("cost_wei", since, (since_s,))
        return charged, Wei(sum(row.unclaimed_wei for row in self.unclaimed())), cost

    def charged_by_day(self, *, since_s: int) -> dict[int, Wei]:
        """The charges of each UTC day since a midnight; the days are counted from 1970."""
        rows = self._store.rows(
            "SELECT charged_s / 86400 AS day, sum_wei(charged_wei) AS wei FROM x402_charge WHERE charged_s >= ?"
            " GROUP BY day",
            (since_s,),
        )
        return {row["day"]: Wei(int(row["wei"])) for row in rows}


def _unclaimed_since_s(row: X402Row, now_s: int) -> int:
    """The time since which the owner waits for a claim on a channel, or 0.

    A channel that seems to have less than was charged is kept for a while, since the endpoint may lag behind.
    """
    if row.unclaimed_wei:
        return row.unclaimed_since_s or now_s
    is_lost = now_s - row.unclaimed_since_s >= LOST_S
    return 0 if row.charged_wei <= row.claimed_wei or is_lost else row.unclaimed_since_s


def _row(row: sqlite3.Row) -> X402Row:
    return X402Row(
        channel_id=ChannelId(row["channel_id"]),
        channel=x402_channel_from_plain(json.loads(row["config"])),
        charged_wei=Wei(int(row["charged_wei"])),
        signed_wei=Wei(int(row["signed_wei"])),
        signature=bytes(row["signature"]),
        claimed_wei=Wei(int(row["claimed_wei"])),
        balance_wei=Wei(int(row["balance_wei"])),
        withdraw_since_s=row["withdraw_since_s"],
        synced_s=row["synced_s"],
        unclaimed_since_s=row["unclaimed_since_s"],
    )
