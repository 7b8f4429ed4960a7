"""Trained adapters that come with the package, so that a new node has one to ask before anybody trains.

The package holds an adapter's weights and its `adapter.json` without an owner, whom publishing names. The rows are
drawn again from their seed, and the index is built from them here. `scripts/make_samples.py` makes the adapters.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from openledger_protocol.errors import AdapterRefusedError

from ..datanets.sample import SAMPLE_ID, SAMPLE_SEEDS, named_sample
from ..datanets.version import keep_version, make_version
from ..home import Home
from ..models.adapters import INDEX_FOLDER, LIBRARY_FILES, Adapter, add_adapter, read_manifest
from ..models.bases import Base
from .order import index_builder

SAMPLES: Final = Path(__file__).resolve().parent.parent / "samples"
"""One folder an adapter, in PEFT format, with an `adapter.json` and without an index."""


def add_sample(home: Home, base: Base, name: str) -> Adapter:
    """Add a sample adapter to the library, with the index of its rows; adding it twice changes nothing.

    Raises:
        ConfigError: there is no such sample.
        AdapterRefusedError: the sample is for another base, or the package is damaged.
    """
    rows, accounts = named_sample(name).rows, named_sample(name).accounts
    manifest = read_manifest(SAMPLES / name)
    if manifest.base.digest != base.digest:
        raise AdapterRefusedError(
            f"the sample {name} was trained on base {manifest.base.name}, not on {base.name}: "
            f"give --base {manifest.base.name}"
        )
    version = keep_version(home, make_version(SAMPLE_ID, f"seed-{SAMPLE_SEEDS[name]}", rows, accounts))
    with tempfile.TemporaryDirectory(prefix="openledger-sample-") as root:
        folder = Path(root) / name
        folder.mkdir()
        for file in LIBRARY_FILES:
            shutil.copyfile(SAMPLES / name / file, folder / file)
        if index_builder(base, version.label)(folder / INDEX_FOLDER, rows) != manifest.index_root:
            raise AdapterRefusedError(f"the rows of the sample {name} are not those that it was trained on")
        return add_adapter(home, folder, base)
