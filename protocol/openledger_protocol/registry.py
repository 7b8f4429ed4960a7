"""The rule by which node and payer trust an adapter's entry on the chain: it says what the manifest says."""

from dataclasses import dataclass

from .adapter import AdapterManifest, adapter_id, datanet_weights
from .constants import ADAPTER_DATANETS_MAX, PPM
from .errors import AdapterRefusedError
from .primitives import ZERO_DIGEST, Address, DatanetId, Digest
from .rules import USUAL_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """An adapter's entry in ModelRegistry."""

    owner: Address
    base: Digest
    artifact: Digest
    index_root: Digest  # zero: it has no index
    datanets: tuple[tuple[DatanetId, int], ...]  # ascending, each with its weight in ppm
    rules: tuple[int, ...] = USUAL_RULES  # attribution rules that all its Datanets allow; stored with these

    @property
    def datanet_ids(self) -> tuple[DatanetId, ...]:
        """Its Datanets, ascending."""
        return tuple(datanet_id for datanet_id, _ in self.datanets)


def entry_of(manifest: AdapterManifest, owner: Address) -> RegistryEntry:
    """The entry under which `owner` has to register an adapter with this manifest."""
    return RegistryEntry(
        owner=owner,
        base=manifest.base.digest,
        artifact=manifest.artifact_digest,
        index_root=manifest.index_root or ZERO_DIGEST,
        datanets=datanet_weights(manifest),
    )


def check_entry(manifest: AdapterManifest, entry: RegistryEntry) -> None:
    """Check that the entry under a manifest's id says what the manifest says.

    Otherwise the shares that a receipt names would be paid to whomever the entry names.

    Raises:
        AdapterRefusedError: it names the first field that differs, with both values.
    """
    if manifest.owner is None:
        raise AdapterRefusedError(
            f"the manifest of adapter {adapter_id(manifest)} names no owner, so it can't be sold"
        )
    expected = entry_of(manifest, manifest.owner)
    for field in ("owner", "datanets", "index_root", "base", "artifact"):
        found, wanted = getattr(entry, field), getattr(expected, field)
        if found != wanted:
            raise AdapterRefusedError(
                f"the chain's entry of adapter {adapter_id(manifest)} differs from its manifest in {_NAMES[field]}: "
                f"{_shown(found)} on the chain, {_shown(wanted)} in the manifest"
            )


def check_weights(manifest: AdapterManifest) -> None:
    """Check that an adapter's Datanets can be registered.

    Raises:
        AdapterRefusedError: there are too many, a weight is 0, they do not sum to 1,000,000, or there is no index.
    """
    weights = [weight for _, weight in datanet_weights(manifest)]
    if not weights:
        return
    if sum(weights) != PPM or 0 in weights or len(weights) > ADAPTER_DATANETS_MAX:
        raise AdapterRefusedError(
            f"{manifest.name} must name 1 to {ADAPTER_DATANETS_MAX} Datanets whose weights are above 0 and sum to "
            f"{PPM}, not {weights}"
        )
    if manifest.index_root is None:
        raise AdapterRefusedError(
            f"{manifest.name} names Datanets and has no attribution index, so nobody's rows could be paid: "
            "train it again"
        )


_NAMES = {
    "owner": "its owner",
    "datanets": "its Datanets and weights",
    "index_root": "its attribution index",
    "base": "its base",
    "artifact": "its artifact digest",
}


def _shown(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join(f"{datanet_id} with {weight:,} ppm" for datanet_id, weight in value) or "none"
