"""Chain whose answers a test sets: every channel is rich and every signer known until the test says otherwise."""

import trio

from openledger_node.errors import ChainError
from openledger_node.market.requester import Backing
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.credit import Standing
from openledger_protocol.adapter import AdapterManifest, adapter_id
from openledger_protocol.errors import UnavailableError, UnknownModelError
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, ChannelId, Generation, Wei
from openledger_protocol.registry import RegistryEntry, entry_of

from .terms import config_with


def deposited(wei: int) -> Standing:
    """A channel whose deposit is final."""
    return Standing(deposit_final_wei=Wei(wei), deposit_latest_wei=Wei(wei))


RICH = deposited(10**18)
BOND_WEI = Wei(10**18)


class Chain:
    """The chain as sellers and the buyer ask it."""

    def __init__(self) -> None:
        self.standings: dict[ChannelId, Standing] = {}
        self.other = RICH  # of channels that are not named
        self.entries: dict[AdapterId, RegistryEntry] = {}
        self.manifests: dict[AdapterId, AdapterManifest] = {}  # that sellers show
        self.strangers: set[Address] = set()  # signers that it does not know
        self.unbonded: set[Address] = set()  # wallets without the minimum stake
        self.bonds: dict[Address, Wei] = {}  # of wallets with another bond than the usual one
        self.num_asked = 0
        self.is_down = False
        self.is_silent = False  # does not even refuse

    def backing(self) -> Backing:
        """The buyer's questions to it."""
        return Backing(
            channel_with=self.channel_with,
            may_sign=self.may_sign,
            bond_of=self.bond_of,
            find_entry=self.find_entry,
            find_manifest=self.find_manifest,
        )

    async def standing(self, key: ChannelId) -> Standing:
        await self._answer()
        return self.standings.get(key, self.other)

    async def channel_with(self, node: Address, generation: Generation) -> ChannelConfig:
        await self._answer()
        return config_with(node, generation)

    async def may_sign(self, signer: Address, _: Address) -> bool:
        await self._answer()
        return signer not in self.strangers

    async def bond_of(self, wallet: Address) -> Wei:
        await self._answer()
        return ZERO_WEI if wallet in self.unbonded else self.bonds.get(wallet, BOND_WEI)

    async def find_entry(self, adapter: AdapterId) -> RegistryEntry:
        await self._answer()
        if adapter not in self.entries:
            raise UnknownModelError(f"adapter {adapter} is not registered")
        return self.entries[adapter]

    def register(self, manifest: AdapterManifest) -> None:
        """Register an adapter as its manifest says, which sellers then show."""
        self.manifests[adapter_id(manifest)] = manifest
        self.entries[adapter_id(manifest)] = entry_of(manifest, manifest.owner or ZERO_ADDRESS)

    async def find_manifest(self, adapter: AdapterId, _: PeerId) -> AdapterManifest:
        if adapter not in self.manifests:
            raise UnavailableError(f"it does not show the manifest of adapter {adapter}")
        return self.manifests[adapter]

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        self.num_asked += 1
        if self.is_silent:
            await trio.sleep_forever()
        if self.is_down:
            raise ChainError("the endpoint does not answer")
