"""The draws of one claim's payout list, as AttributionRewards counts those that lapsed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from openledger_protocol.claims import part_down
from openledger_protocol.constants import LATE_PPM
from openledger_protocol.payouts import final_fee_wei, lapse_fee_wei
from openledger_protocol.settlement import ClaimRecord, Payout

HASH_BLOCKS = 256
"""For so many blocks a contract can read a block's hash."""

REDRAWS_LIMIT = 254
"""The contract counts draws in a byte, and the last one is counted as well."""


@dataclass(slots=True, kw_only=True)
class Draws:
    """The draws so far: the block of the last, and how many lapsed before it that have to be paid for."""

    block: int = 0  # 0: none
    redraws: int = 0
    faults: list[str] = field(default_factory=list)

    def draw(self, draw_block: int, *, mined_in: int, redraw_blocks: int) -> None:
        """Add a draw."""
        if draw_block != mined_in + 1:
            self.faults.append(f"its draw of block {mined_in} names block {draw_block}, not the next one")
        last = self.block + redraw_blocks
        if self.block and mined_in <= last:
            self.faults.append(f"points were drawn again in block {mined_in}, and until {last} the draw stood")
        elif self.block:
            self.redraws += 1
        self.block = draw_block

    def show(self, mined_in: int) -> None:
        """Check that the last draw's block had a hash when the list became final."""
        if not (self.block and self.block < mined_in <= self.block + HASH_BLOCKS):
            self.faults.append(f"its list became final in block {mined_in}, but no points could be read then")


def redraws_max(record: ClaimRecord) -> int:
    """The number of draws that may lapse so that the node's share covers one more."""
    fee = lapse_fee_wei(record)
    return min(REDRAWS_LIMIT, record.node_share_wei // fee - 1) if fee else REDRAWS_LIMIT


def fee_wei(record: ClaimRecord, payouts: Sequence[Payout] | None, *, is_late: bool, num_redraws: int) -> int:
    """The fees that a final claim takes from its node's share; `payouts` is None if no list was proposed."""
    if payouts is None:
        return part_down(record.node_share_wei, LATE_PPM)
    if is_late:
        return (num_redraws + 1) * lapse_fee_wei(record)
    return final_fee_wei(record, payouts, num_redraws=num_redraws)
