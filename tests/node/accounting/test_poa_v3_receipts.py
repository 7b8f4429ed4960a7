"""poa-v3 the whole way: trained with signals, sold, signed, and checked by the payer with a real decoder."""

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.chain_world.seller import Seller, start_seller
from support.chain_world.world import World
from support.contributors import ROWS, TREASURY
from support.signal_trainee import CONTEXT_MAX, Trainee, make_trainee, shelve

from openledger_node.accounting.queries import open_queries
from openledger_node.attribution.index import open_adapter_index
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.home import Home
from openledger_node.models.bases import Base
from openledger_node.payments.kept_texts import find_text_at
from openledger_node.payments.payer import Bought
from openledger_node.payments.receipts import Delivered, MadeReceipt, ReceiptMaker
from openledger_node.serving.service import Serving
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.inference import Completion
from openledger_protocol.opening import Opening, check_opening
from openledger_protocol.primitives import ZERO_DIGEST
from openledger_protocol.rules import SIGNALS_RULE, TEXT_RULE
from openledger_protocol.signals import signals_hash

LOADED_MACHINE_S = 500.0


@pytest.fixture(scope="module")
def trainee(tmp_path_factory: pytest.TempPathFactory) -> Trainee:
    return make_trainee(tmp_path_factory.mktemp("poa"))


def engine_of(base: Base, root: Path) -> Engine:
    settings = BackendSettings(
        base_folder=str(base.folder), device="cpu", dtype="float32", threads=1, batch_max=2, context_max=CONTEXT_MAX
    )
    return Engine(
        EngineOptions(
            backend="torch_lora",
            settings=settings,
            prefill_tokens_max=64,
            adapter_cache_bytes=1 << 24,
            stall_timeout_s=LOADED_MACHINE_S,
            wait_policy="passive",
        )
    )


@asynccontextmanager
async def selling(root: Path, world: World, trainee: Trainee) -> Any:
    engine = engine_of(trainee.base, root)
    async with start_seller(root, world, base=trainee.base, engine=engine, timeout_s=LOADED_MACHINE_S) as seller:
        yield seller


async def buy(seller: Seller, question: int) -> Bought:
    return await seller.ask(ROWS[question].prompt, model="lake", max_tokens=8)


async def verified(seller: Seller, bought: Bought) -> dict[str, tuple[bool | None, str]]:
    found = await trio.to_thread.run_sync(seller.questions.answer, "verify", {"receipt": bought.digest})
    return {check["what"]: (check["holds"], check["detail"]) for check in found["checks"]}


def kept(seller: Seller, bought: Bought) -> Opening:
    payer = seller.world.payer
    folder = seller.home.guest_ledger(seller.world.node.network.network).parent
    opening = find_text_at(folder, payer.ledger, bought.digest, now_ns=1)
    assert opening is not None
    return opening


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Changes to what the seller's receipts are made from; empty at first."""
    told: dict[str, Any] = {}
    make = ReceiptMaker.make

    async def lying(maker: ReceiptMaker, delivered: Delivered, lane: Any) -> MadeReceipt:
        told.setdefault("first", delivered.signals)
        return await make(maker, replace(delivered, **told.get("changes", {})), lane)

    monkeypatch.setattr(ReceiptMaker, "make", lying)
    return told


@pytest.mark.process
async def test_a_payer_verifies_an_honest_receipt_and_finds_out_a_lying_seller(
    tmp_path: Path, world: World, trainee: Trainee, lies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Serving._completion

    def without_signals(serving: Serving, admitted: Any, progress: Any, reason: Any, _: Any = ()) -> Completion:
        return complete(serving, admitted, progress, reason)

    async with selling(tmp_path, world, trainee) as seller:
        adapter = await trio.to_thread.run_sync(
            lambda: shelve(seller.home, trainee, world.node.accounts.wallet, has_signals=True)
        )
        datanet_id = seller.publish(adapter, (SIGNALS_RULE,))
        assert seller.stack.registry.rule_of(adapter) == SIGNALS_RULE

        # An honest seller: the rule, the commitment and the kept signals agree, and a replay confirms them.
        bought = await buy(seller, 0)
        opening = kept(seller, bought)
        assert bought.receipt.algo_id == SIGNALS_RULE
        assert [each for each, _ in opening.signals] == [datanet_id]
        assert bought.receipt.work.signals_hash == signals_hash(opening.signals) != ZERO_DIGEST
        check_opening(opening, bought.receipt)
        found = await verified(seller, bought)
        assert (found["attribution"][0], found["signals"][0]) == (True, True), found
        assert "run once more" in found["signals"][1]

        # A receipt by a rule that its Datanets don't allow, and one whose shares don't follow from its signals.
        checker = seller.questions._checker
        row = checker.find(bought.digest)
        other = replace(row, receipt=replace(row.receipt, algo_id=TEXT_RULE))
        registered = next(each for each in checker.check(other) if each.what == "registry")
        assert registered.holds is False
        assert "by suffix-v1, but the adapter's Datanets allow poa-v3" in registered.detail
        changed = replace(row, shares=(Share(datanet_id=datanet_id, account=TREASURY, ppm=PPM),))
        checks = await trio.to_thread.run_sync(checker.check, changed)
        shares = next(each for each in checks if each.what == "attribution")
        assert shares.holds is False
        assert shares.detail == "the shares are not those that poa-v3 gives for these texts and signals"

        # Where no engine runs, the check says what it has not looked at.
        lone = AdapterRegistry(seller.home, world.node.deployment, world.node.ledger)
        tokenizer = open_tokenizer(trainee.base.folder)
        questions = open_queries(seller.home, world.node, registry=lone, tokenizer=lambda: tokenizer)
        alone = questions.answer("verify", {"receipt": bought.digest})["checks"]
        unchecked = next(each for each in alone if each["what"] == "signals")
        assert unchecked["holds"] is None
        assert "takes a running node" in unchecked["detail"]

        # Signals that the engine has lost are computed once more by the seller, from the tokens that it delivered.
        with monkeypatch.context() as patched:
            patched.setattr(Serving, "_completion", without_signals)
            found = await verified(seller, await buy(seller, 1))
        assert (found["attribution"][0], found["signals"][0]) == (True, True), found

        # Vectors of another answer: shares follow from them, and a replay shows that they are not this answer's.
        lies["changes"] = {"signals": lies["first"]}
        bought = await buy(seller, 1)
        found = await verified(seller, bought)
        assert (found["attribution"][0], found["signals"][0]) == (True, False), found
        assert "cosine" in found["signals"][1]

        # Between other weights no bound is known, so that a difference shows nothing.
        source: Any = seller.stack.registry.source
        monkeypatch.setattr(source._engine, "profile", replace(source.profile, quantisation="nf4"))
        found = await verified(seller, bought)
        assert found["signals"][0] is None, found
        assert "the seller runs quantisation none and this node runs quantisation nf4" in found["signals"][1]


async def test_an_adapter_without_signals_stays_valid_and_is_sold_by_text_alone(
    tmp_path: Path, world: World, trainee: Trainee
) -> None:
    home = Home(tmp_path)
    adapter = shelve(home, trainee, world.node.accounts.wallet, has_signals=False)
    index = open_adapter_index(adapter)
    assert index is not None
    assert index.datanets[0].signals is None
    registry = AdapterRegistry(home, world.node.deployment, world.node.ledger)
    seller = Seller(home, world, None, None, None, None, None)  # type: ignore[arg-type]  # it only publishes
    seller.publish(adapter, (TEXT_RULE, SIGNALS_RULE))
    assert registry.rule_of(adapter) == TEXT_RULE
