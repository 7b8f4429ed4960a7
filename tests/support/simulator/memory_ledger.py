"""What a simulated node keeps over a restart, without a file."""

from collections.abc import Iterable, Mapping

from openledger_node.ledger.sellers import AnswerSpeed, Outcome, SellerRecord
from openledger_node.p2p.transport import PeerId, peer_id_from_address
from openledger_protocol.primitives import ZERO_WEI, Address, Wei


class SeqRows:
    """Sequences of peers, as `ledger.peers` keeps them."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}

    def seqs(self) -> dict[str, int]:
        return dict(self._seqs)

    def seq_last(self, peer_id: str) -> int | None:
        return self._seqs.get(peer_id)

    def keep_seqs(self, seqs: Mapping[str, int], *, now_ns: int) -> None:
        for peer_id, seq in seqs.items():
            self._seqs[peer_id] = max(seq, self._seqs.get(peer_id, 0))

    def paid_wei(self, payer: Address, *, since_s: int) -> Wei:
        return ZERO_WEI


class SellerRows:
    """Records of sellers, as `ledger.sellers` keeps them."""

    def __init__(self) -> None:
        self._records: dict[Address, SellerRecord] = {}

    def note(
        self,
        wallet: Address,
        outcome: Outcome,
        *,
        now_ns: int,
        sample: AnswerSpeed | None = None,
        is_default: bool = False,
    ) -> SellerRecord:
        found = self.find(wallet).after(outcome, now_ns=now_ns, sample=sample, is_default=is_default)
        self._records[wallet] = found
        return found

    def find(self, wallet: Address) -> SellerRecord:
        return self._records.get(wallet, SellerRecord())

    def of(self, wallets: Iterable[Address]) -> dict[Address, SellerRecord]:
        return {wallet: self.find(wallet) for wallet in wallets}


class Book:
    """Addresses of peers, as `AddressBook` keeps them."""

    def __init__(self) -> None:
        self._addresses: dict[PeerId, str] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(reversed(self._addresses.values()))

    def has(self, peer_id: PeerId) -> bool:
        return peer_id in self._addresses

    def note(self, address: str) -> None:
        peer_id = peer_id_from_address(address)
        self._addresses.pop(peer_id, None)
        self._addresses[peer_id] = address

    def write(self) -> None:
        pass
