"""Sampling values that a base's makers recommend, for requests that leave them out.

They come from the base's generation_config.json, as with vLLM's `--generation-config auto`; a base made of a GGUF
file has its metadata there. A base that states none takes those of `known_bases`, and all others take the values
without an effect. Who asks decides: a buyer fills the values in before the request is priced and signed.
"""

import logging
from pathlib import Path

from openledger_protocol.constants import DEMO_BASE_NAME

from ..errors import ModelError
from .bases import DEMO_HUB_NAME, Base, pull_name
from .config_fields import GENERATION_CONFIG, read_fields
from .gguf_name import without_label
from .known_bases import KNOWN_BASES, KnownBase, known_base
from .sampling_defaults import NEUTRAL, SamplingDefaults, read_sampling

log = logging.getLogger(__name__)


def recommended_sampling(base: Base) -> SamplingDefaults:
    """The values that apply to a base; what its file states and can't be used is ignored with one warning."""
    stated = _stated(base.folder) if base.folder else None
    if stated:
        return stated
    known = _known(base)
    return known.sampling if known else NEUTRAL


def _stated(folder: Path) -> SamplingDefaults | None:
    """The values that a base's folder states; None if there is no file, or nothing in it can be used."""
    try:
        found, ignored = read_sampling(read_fields(folder, GENERATION_CONFIG))
    except FileNotFoundError:
        return None
    except (OSError, ModelError) as error:
        log.warning("the base's sampling values are ignored: %s", error)
        return None
    if ignored:
        log.warning("%s: these values are ignored: %s", folder / GENERATION_CONFIG, ", ".join(ignored))
    return found


def _known(base: Base) -> KnownBase | None:
    """The known base that a base is, by the name of its repository or of its GGUF file."""
    repository = pull_name(base).partition("@")[0]
    if found := known_base(DEMO_BASE_NAME if repository == DEMO_HUB_NAME else repository):
        return found
    if base.gguf is None:
        return None
    title = without_label(base.gguf.name).lower()
    return next((each for each in KNOWN_BASES if each.name.rpartition("/")[2].lower() == title), None)
