"""A Datanet of one's own, and its next version."""

import pytest
from support.indexes import ADA

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home

LAKE = new_datanet("lake", licence="CC0-1.0", treasury=ADA, owner_ppm=0)


@pytest.fixture
def own(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(LAKE)
    return own


def publish(own: OwnDatanets) -> str:
    version, *counts = own.next_version("lake")
    own.keep_version(version, *counts)
    return version.version
