"""Rows of people become an adapter on the network, which others pull, and whose answers pay them."""

from pathlib import Path

from support.chain_world.datanet_owner import open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import open_world
from support.contributors import ADA, BEN, TERMS
from support.local_engine import LocalEngine
from support.market_world.swarm import ANN, BOB, LAKE, VERSION, contents, open_swarm, share_adapter

from openledger_node.datanets.version import read_published
from openledger_node.home import Home
from openledger_node.models.library import list_adapters
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import ZERO_ADDRESS


async def test_rows_become_a_published_adapter_whose_answers_pay_the_contributors(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        owner = open_owner(Home(tmp_path), world)
        owner.do("datanet create", datanet="lake", **TERMS)
        owner.approve()
        owner.do("datanet publish", datanet="lake")
        adapter = owner.train()
        owner.do("adapters publish", adapter="lake")
        published = world.node.deployment.adapter(adapter.id)
        assert published is not None
        assert published.datanets == ((datanet_id(owner.account, "lake"), PPM),)
        async with start_seller(tmp_path, world, engine=LocalEngine()) as seller:
            bought = await seller.ask("What does Rurik keep?", model="lake")
            seller.settle_all()
        of_data_wei = bought.receipt.amount_wei * 200_000 // PPM
        of_rows_wei = of_data_wei - of_data_wei * TERMS["owner_ppm"] // PPM
        paid = {share.account: of_rows_wei * share.ppm // PPM for share in bought.shares}
        paid.pop(ZERO_ADDRESS, None)
        assert BEN in paid
        assert paid.keys() <= {ADA, BEN}
        assert {account: world.balance(account) for account in paid} == paid


async def test_a_node_pulls_an_adapter_it_has_never_seen_from_two_peers(tmp_path: Path) -> None:
    async with open_swarm(tmp_path) as swarm:
        adapter = share_adapter(swarm.shared)
        await swarm.add(ANN)
        await swarm.add(BOB)
        fetched = await swarm.fetch(adapter.id, ANN, BOB)
        assert contents(fetched.adapter.folder) == contents(adapter.folder)
        assert [found.id for found in list_adapters(swarm.ours)] == [adapter.id]
        assert read_published(swarm.ours, LAKE) == VERSION
        assert all(swarm.asked[peer] for peer in (ANN, BOB))
