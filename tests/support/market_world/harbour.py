"""An adapter that has an owner, on the disk of one seller."""

import json
from dataclasses import replace
from pathlib import Path

from openledger_node.home import Home
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import Address

from ..peft_folders import write_adapter


def share_harbour(root: Path) -> Adapter:
    """Put an adapter that has an owner into the library of the seller `with`."""
    source = write_adapter(root / "source" / "harbour")
    made = add_adapter(Home(root / "made"), source, FAKE_BASE)
    manifest = replace(made.manifest, owner=Address("0x" + "7" * 40))
    (source / "adapter.json").write_text(json.dumps(to_plain(manifest)))
    return add_adapter(Home(root / "with"), source, FAKE_BASE)
