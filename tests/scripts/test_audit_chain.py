"""The script over HTTP: what it prints, how it ends, and what it says when it can't look."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import audit_chain
import pytest
from audited_economy import Economy, plant
from support.chain_world.ways import served_chain

from openledger_node.audit.storage_layout import layout_of
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.chain.dev.rpc_server import RpcServer
from openledger_node.errors import ChainError
from openledger_node.network_file import write_network


@contextmanager
def served(session: Economy) -> Iterator[str]:
    """The economy's chain behind an endpoint."""
    methods = RpcMethods(session.client._chain, "openledger-node/test")

    def answer(method: str, params: list[Any]) -> object:
        with methods.lock:
            return methods.answer(method, params)

    server = RpcServer(0, answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def url(session: Economy) -> Iterator[str]:
    with served(session) as url:
        yield url


@pytest.fixture
def file(session: Economy, tmp_path: Path) -> Path:
    write_network(tmp_path / "network.json", session.network)
    return tmp_path / "network.json"


class Ran:
    """How a run ended, and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: object) -> None:
        with pytest.raises(SystemExit) as ended:
            audit_chain.main([str(word) for word in words])
        self.status = ended.value.code
        self.stdout, self.stderr = capsys.readouterr()


def test_a_planted_wei_ends_it_with_one(
    session: Economy, url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout_of("PaymentChannels").place("_released")
    plant(session, "PaymentChannels", place.slot, lambda word: word + 1)
    try:
        as_json, as_table = Ran(capsys, url, file, "--json"), Ran(capsys, url, file)
    finally:
        plant(session, "PaymentChannels", place.slot, lambda word: word - 1)
    printed = json.loads(as_json.stdout)
    assert (as_json.status, as_table.status, printed["holds"]) == (1, 1, False)
    assert [line["id"] for line in printed["lines"] if not line["holds"]] == ["channels", "releases"]
    assert "PaymentChannels._released is" in as_table.stdout
    assert as_table.stdout.endswith("it does not hold\n")


def test_an_endpoint_of_another_chain_or_none_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served_chain(seed=b"\x07" * 32) as other:
        check_refused(Ran(capsys, other, file), "another chain")
    check_refused(Ran(capsys, "http://127.0.0.1:9", file), "check that it is running")


def test_contracts_of_other_code_are_refused(
    session: Economy, url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = session.network.contracts
    swapped = {**there, "Params": there["NodeStaking"], "NodeStaking": there["Params"]}
    write_network(file, replace(session.network, contracts=swapped))
    check_refused(Ran(capsys, url, file), "Params, NodeStaking of")


@pytest.mark.parametrize(("number", "why"), [(10**6, "has no block"), (0, "begins with block")])
def test_a_block_that_is_not_there_is_refused(
    url: str, file: Path, capsys: pytest.CaptureFixture[str], number: int, why: str
) -> None:
    check_refused(Ran(capsys, url, file, "--block", number), why)


def check_refused(ran: Ran, why: str) -> None:
    assert (ran.status, ran.stdout) == (ChainError.exit_code, "")
    assert why in ran.stderr
    assert ran.stderr.count("\n") == 1
