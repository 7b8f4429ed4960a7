"""The routes of Datanets: the page reviews through them what the commands review."""

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS

from openledger_node.api.datanets import add_datanets
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_process import carry_out
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.network.service import NetworkService


class OneAnswer:
    """Stands in for the network: it answers each question alike, or has no network."""

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer

    async def ask(self, question: str, arguments: dict[str, Any]) -> Any:
        if self.answer is None:
            raise NodeError("this node is on no network")
        return {**self.answer, "asked": [question, arguments]}


@pytest.fixture
def network() -> OneAnswer:
    return OneAnswer(None)


@pytest.fixture
async def client(home: Home, network: OneAnswer) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    add_datanets(app, home, cast("NetworkService", network), carry_out)
    OwnDatanets(home).create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://control") as opened:
        yield opened


@pytest.fixture
def batch(client: httpx.AsyncClient, home: Home) -> str:
    return OwnDatanets(home).contribute("lake", CONTRIBUTED, {}).digest


async def post(client: httpx.AsyncClient, path: str, **order: Any) -> dict[str, Any]:
    answer = await client.post(path, json=order)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_batch_is_looked_at_approved_but_for_a_row_and_listed(client: httpx.AsyncClient, batch: str) -> None:
    overview = (await client.get("/datanets/overview")).json()
    assert overview["datanets"][0]["batches_waiting"] == 1
    shown = (await client.get(f"/datanets/lake/batches/{batch[:10]}?limit=2&offset=1")).json()
    assert [each["row"] for each in shown["shown"]] == [2, 3]
    order = {"batch": batch, "leave_out": [2], "because": "wrong", "accounts": {"ben": BEN}}
    assert (await post(client, "/datanets/lake/approve", **order))["state"] == "approved"
    details = (await client.get("/datanets/lake/details")).json()
    assert [(each["rows"], each["rows_kept"], each["state"]) for each in details["batches"]] == [(3, 2, "approved")]


async def test_a_batch_is_checked_again_and_rejected(client: httpx.AsyncClient, batch: str) -> None:
    assert (await post(client, "/datanets/lake/check", batch=batch))["state"] == "pending"
    assert (await post(client, "/datanets/lake/reject", batch=batch, because="no"))["state"] == "rejected"


async def test_an_appeal_is_filed_and_decided(client: httpx.AsyncClient, batch: str, home: Home) -> None:
    await post(client, "/datanets/lake/approve", batch=batch)
    copy = OwnDatanets(home).contribute("lake", CONTRIBUTED[1:2], {"ben": ADA})
    again = [type(row)(prompt=row.prompt, completion=row.completion, contributor="eve") for row in CONTRIBUTED[:1]]
    digest = OwnDatanets(home).contribute("lake", again, {}).digest
    filed = await post(client, "/datanets/lake/appeal", batch=digest, row=1, because="mine")
    assert [each["upheld"] for each in filed["gate"]["appeals"]] == [None]
    decided = await post(client, "/datanets/lake/appeal", batch=digest, row=1, because="it is", upheld=True)
    assert ([each["upheld"] for each in decided["gate"]["appeals"]], decided["of_others"]) == ([True], 0)
    assert copy.digest != digest


async def test_the_leaderboard_says_why_the_chain_is_silent(client: httpx.AsyncClient, batch: str) -> None:
    found = (await client.get("/datanets/lake/standing")).json()
    assert found["why_no_chain"] == "this node is on no network"
    assert {line["account"] for line in found["lines"]} == {ADA, None}


async def test_the_leaderboard_has_what_the_chain_says(
    client: httpx.AsyncClient, batch: str, network: OneAnswer
) -> None:
    line = {"account": ADA, "answers": 1, "influence_ppm": 1_000_000, "earned_wei": "9", "pending_wei": "0"}
    network.answer = {"id": "0x1", "name": "lake", "lines": [line]}
    found = (await client.get("/datanets/lake/standing")).json()
    assert (found["asked"], found["why_no_chain"]) == (["datanet_board", {"datanet": "lake"}], None)
    assert [(each["account"], each["earned_wei"]) for each in found["lines"]] == [(ADA, "9"), (None, "0")]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("approve", {}),
        ("approve", {"batch": "0x1", "leave_out": ["x"]}),
        ("reject", {"batch": "0x1"}),
        ("appeal", {"batch": "0x1", "because": "x"}),
        ("check", {"batch": "0x1", "more": 1}),
    ],
)
async def test_an_order_with_a_wrong_field_is_refused(
    client: httpx.AsyncClient, path: str, order: dict[str, Any]
) -> None:
    assert (await client.post(f"/datanets/lake/{path}", json=order)).status_code == 422
