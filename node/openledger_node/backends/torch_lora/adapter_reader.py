"""Reads an adapter's PEFT files, or its packed file, into a blob that is ready to multiply."""

import contextlib
from pathlib import Path

import torch
from torch import Tensor

from openledger_node.backends.lora_files import SiteNumbers, dora_scale, narrowed, read_numbers
from openledger_node.models.adapter_files.layout import CONFIG_FILE, WEIGHTS_FILE
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, check_fits
from openledger_node.models.packed import PackedFile, open_packed, write_packed
from openledger_node.models.packed_cache import base_stamps, keep, note_use, packed_name, source_stamps
from openledger_protocol.errors import AdapterRefusedError

from .adapter_blob import AdapterBlob, Site, columns_of, empty_blob, parts_of, shape_of, views_of
from .matrices import rows_of, wide_of
from .quantised import from_bits, to_bits
from .weights import Weights

BLOB_VERSION = 1
"""Increased whenever the same files would be packed differently."""


class AdapterReader:
    """Reads adapters for one open base, in any thread."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Weights,
        dtype: torch.dtype,
        *,
        base: Path,
        cache: Path | None,
        quantisation: str,
    ) -> None:
        self._config = config
        self._weights = weights
        self._dtype = dtype
        self._base = base
        self._quantisation = quantisation  # DoRA's scales depend on the quantised base
        self._cache = cache

    def read(self, source: AdapterSource) -> AdapterBlob:
        """Read and check an adapter; if it was packed before, this reads a single file.

        Raises:
            AdapterRefusedError: its files do not fit the base, or change while they are read.
        """
        if self._cache is None:
            return self._read_files(source)
        key = self._key(source)
        file = self._cache / packed_name(key)
        if (packed := open_packed(file, key=key)) is not None:
            with contextlib.suppress(OSError):  # another process may have just deleted it
                note_use(file)
                return self._unpack(packed)
        blob = self._read_files(source)
        if self._key(source) != key:
            raise AdapterRefusedError(f"the files of {source.id} were changed while they were read")
        with contextlib.suppress(OSError):  # with a full disk, the adapter is only packed again at the next start
            write_packed(file, [("memory", to_bits(blob.memory))], key=key, content={"shape": blob.shape})
            keep(file)
        return blob

    def _read_files(self, source: AdapterSource) -> AdapterBlob:
        return self._pack(read_numbers(source, lambda layout: check_fits(layout, self._config)))

    def _unpack(self, packed: PackedFile) -> AdapterBlob:
        shape = tuple(Site(*site) for site in packed.content["shape"])
        return AdapterBlob(shape=shape, memory=from_bits(packed.read("memory"), self._dtype))

    def _key(self, source: AdapterSource) -> str:
        """A key of all that determines the packed numbers: files, base and number format."""
        try:
            stamps = source_stamps(source, (CONFIG_FILE, WEIGHTS_FILE))
        except OSError as error:
            raise AdapterRefusedError(f"{error.filename} is not there") from error
        return repr((BLOB_VERSION, str(self._dtype), self._quantisation, stamps, base_stamps(self._base)))

    @torch.inference_mode()
    def _pack(self, numbers: list[SiteNumbers]) -> AdapterBlob:
        """Pack numbers in the order of `parts_of`."""
        by_site = {(each.site.layer, each.site.module): each for each in numbers}
        shape = shape_of(tuple(each.site for each in numbers))
        blob = empty_blob(shape, self._config, self._dtype)
        views = iter(views_of(blob.memory, shape, self._config))
        scales = {place: self._scale(each) for place, each in by_site.items()}
        for part, view in zip(parts_of(shape, self._config), views, strict=True):
            if part.module is None:
                modules = self._config.groups[part.group]
                members = [by_site[part.layer, name] for name in modules if (part.layer, name) in by_site]
                wide = torch.cat([each.a for each in members]).T
                where = f"layers.{part.layer}.{part.group}"
            else:
                each, scale = by_site[part.layer, part.module], scales[part.layer, part.module]
                where = each.site.path
                if part.is_scale:
                    assert scale is not None, "only DoRA has that part"
                    wide = scale - 1
                else:
                    wide = each.b.T if scale is None else each.b.T * scale
            view.copy_(narrowed(wide, self._dtype, where))
        return blob

    def _scale(self, numbers: SiteNumbers) -> Tensor | None:
        if numbers.magnitude is None:
            return None
        assert numbers.site.layer is not None, "it fits the base"
        module = numbers.site.module
        group = next(group for group, modules in self._config.groups.items() if module in modules)
        fused = self._weights.layers[numbers.site.layer].maps[group].weight
        own = rows_of(fused, columns_of(module, self._config))
        return dora_scale(numbers, wide_of(own).cpu().float())
