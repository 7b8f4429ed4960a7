"""The process of one pull of an adapter from the Hugging Face hub: it prints its progress as lines of JSON."""

import sys
from pathlib import Path

from ..home import Home
from ..models.bases import find_base
from ..network_defaults import load_network_config
from .hub_pull import pull_hub_adapter
from .pull_child import ChildReport, run_child, tell


def main(root: str, name: str, base: str) -> None:
    """Pull one adapter and print what came of it."""
    run_child(lambda: _pull(Home(Path(root)), name, base))


def _pull(home: Home, name: str, base_name: str) -> None:
    (config, _), base = load_network_config(home), find_base(home, base_name)
    added = pull_hub_adapter(home, name, base, disk_cap_bytes=config.limits.disk_bytes, report=ChildReport())
    tell(
        {
            "adapter": added.adapter.full_name,
            "received_bytes": added.received_bytes,
            "from_peer": None,
            "made_for": added.made_for,
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
