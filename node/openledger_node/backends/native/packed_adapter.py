"""Adapters in the layout of the compiled step: packed once, and then loaded by one read from disk."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openledger_node.models.adapter_files.layout import CONFIG_FILE, WEIGHTS_FILE, LoraSite, read_layout
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, check_fits
from openledger_node.models.packed import PackedFile, open_packed, write_packed
from openledger_node.models.packed_cache import base_stamps, keep, note_use, packed_name, source_stamps
from openledger_protocol.errors import AdapterRefusedError

from .library import SITE, SITES, Library, Region
from .tapping import residual_flags, tap_places
from .tensors import (
    LANES,
    TILE_NUMBERS,
    Bits,
    Floats,
    Tensors,
    base_tensors,
    narrow,
    product_layout,
    ranks_layout,
    round_up,
)

LAYOUT_VERSION = 2
"""Increased whenever the same files would be packed differently."""

Sites = NDArray[np.void]  # (layers × 7,) of SITE

ALIGNMENT = 64
ABSENT = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedAdapter:
    """One adapter in memory, and the addresses of its matrices."""

    region: Region
    sites: Sites  # (layers × 7,) of SITE
    rank_max: int
    is_residual: NDArray[np.bool_]  # (ranks of all sites,) of its taps
    taps: NDArray[np.int32]  # (layers × 7,) where each site's ranks begin in its taps

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        return self.region.size_bytes + self.sites.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiteNumbers:
    """One changed linear map in float32; the scaling is folded into `b`."""

    a: Floats  # (rank, d_in)
    b: Floats  # (d_out, rank)
    magnitude: Floats | None  # (d_out,) of DoRA


class AdapterPacker:
    """Reads adapters for one base, in any thread."""

    def __init__(self, library: Library, config: DecoderConfig, base_folder: Path, cache: Path | None) -> None:
        self._library = library
        self._config = config
        self._base_folder = base_folder
        self._cache = cache

    def read(self, source: AdapterSource) -> PackedAdapter:
        """Read an adapter from its packed file, or from its own files the first time.

        Raises:
            AdapterRefusedError: its files do not fit the base.
        """
        if self._cache is None:
            return self._placed(*self._pack(source))
        key = self._key(source)
        file = self._cache / packed_name(key)
        if (packed := open_packed(file, key=key)) is not None:
            with contextlib.suppress(OSError):  # another process has just deleted it, or it ends early
                return self._fetch(packed)
        sites, numbers = self._pack(source)
        if self._key(source) != key:
            raise AdapterRefusedError(f"the files of {source.id} were changed while they were read")
        with contextlib.suppress(OSError):  # with a full disk, the adapter is only packed again at the next start
            write_packed(file, [("sites", sites.view(np.uint8)), ("numbers", numbers)], key=key, content={})
            keep(file)
        return self._placed(sites, numbers)

    def _key(self, source: AdapterSource) -> str:
        """A key of all that determines the packed numbers: the files and the base."""
        try:
            stamps = source_stamps(source, (CONFIG_FILE, WEIGHTS_FILE))
        except OSError as error:
            raise AdapterRefusedError(f"{error.filename} is not there") from error
        return repr(("product layout", LAYOUT_VERSION, stamps, base_stamps(self._base_folder)))

    def _fetch(self, packed: PackedFile) -> PackedAdapter:
        """Read a packed file straight into the memory that the step reads."""
        note_use(packed.file)
        region = Region(self._library, packed.arrays["numbers"].size_bytes)
        packed.read_into(region.view(), "numbers")
        return _at(region, packed.read("sites").view(SITE))

    def _placed(self, sites: Sites, numbers: Bits) -> PackedAdapter:
        region = Region(self._library, numbers.nbytes)
        region.view()[:] = numbers.view(np.uint8).data
        return _at(region, sites)

    def _pack(self, source: AdapterSource) -> tuple[Sites, Bits]:
        """Pack an adapter into sites, with offsets instead of addresses, and one array of all numbers."""
        folder = Path(source.folder)
        layout = read_layout(folder)
        check_fits(layout, self._config)
        tensors = Tensors(folder / WEIGHTS_FILE)
        by_order = {_order(site.layer or 0, site.module): site for site in layout.sites}
        packed = {order: self._pack_site(tensors, site) for order, site in sorted(by_order.items())}
        sites = np.zeros(self._config.num_layers * len(SITES), SITE)
        for name in ("a", "b", "scale"):
            sites[name] = ABSENT
        pieces: list[Bits] = []
        at = 0
        for number, name, piece in _in_order(packed):
            sites[number][name] = at
            pieces.append(np.concatenate([piece, np.zeros(-len(piece) % (ALIGNMENT // 2), np.uint16)]))
            at += pieces[-1].nbytes
        for number in packed:
            sites[number]["rank"], sites[number]["even"] = packed[number].rank, round_up(packed[number].rank, 2)
        return sites, np.concatenate([*pieces, np.zeros(TILE_NUMBERS, np.uint16)])

    def _pack_site(self, tensors: Tensors, site: LoraSite) -> "_PackedSite":
        layer, module, numbers = site.layer or 0, site.module, _read_site(tensors, site)
        where = f"layers.{layer}.{module}"
        b, scale = numbers.b, None
        if numbers.magnitude is not None:
            scale = numbers.magnitude / self._lengths(layer, module, numbers)
            b = b * scale[:, None]
            scale = np.concatenate([scale, np.ones(-len(scale) % LANES, np.float32)]).astype(np.float32)
        return _PackedSite(
            rank=len(numbers.a),
            a=ranks_layout(_checked(numbers.a, where)),
            b=product_layout(_checked(b, where), inputs=2),
            scale=None if scale is None else scale.view(np.uint16),
        )

    def _lengths(self, layer: int, module: str, numbers: _SiteNumbers) -> Floats:
        """The length of each row of W + B A, by which DoRA divides its magnitude."""
        block = "self_attn" if module in SITES[:4] else "mlp"
        weight = base_tensors(self._base_folder).floats(f"model.layers.{layer}.{block}.{module}.weight")
        return np.asarray(np.linalg.norm(weight + numbers.b @ numbers.a, axis=1), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackedSite:
    rank: int
    a: Bits
    b: Bits
    scale: Bits | None  # float32, viewed as pairs of uint16


def _in_order(packed: dict[int, _PackedSite]) -> Iterator[tuple[int, str, Bits]]:
    """Yield scales first, so that reads beyond the end of a matrix find another one or zeros, and never NaN."""
    for number, site in packed.items():
        if site.scale is not None:
            yield number, "scale", site.scale
    for number, site in packed.items():
        yield number, "a", site.a
        yield number, "b", site.b


def _order(layer: int, module: str) -> int:
    return layer * len(SITES) + SITES.index(module)


def _at(region: Region, sites: Sites) -> PackedAdapter:
    """Replace offsets by addresses in a region."""
    placed = sites.copy()
    for name in ("a", "b", "scale"):
        there = (sites[name] != ABSENT) & (sites["rank"] > 0)
        placed[name] = np.where(there, sites[name] + np.uint64(region.address or 0), np.uint64(0))
    ranks = placed["rank"]
    return PackedAdapter(
        region=region,
        sites=placed,
        rank_max=int(ranks.max()),
        is_residual=residual_flags(ranks),
        taps=tap_places(ranks),
    )


def _read_site(tensors: Tensors, site: LoraSite) -> _SiteNumbers:
    return _SiteNumbers(
        a=tensors.floats(site.key_a),
        b=tensors.floats(site.key_b) * np.float32(site.scaling),
        magnitude=tensors.floats(site.key_magnitude) if site.key_magnitude else None,
    )


def _checked(numbers: Floats, where: str) -> Bits:
    bits = narrow(numbers)
    if ((bits & 0x7F80) == 0x7F80).any():
        raise AdapterRefusedError(f"{where} holds a number that is not finite")
    return bits
