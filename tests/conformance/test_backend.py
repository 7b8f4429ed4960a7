"""What every backend must do, run over every plug."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.batches import GREEDY, TABLE_BLOCKS, Orders, drawing, generate, load, separate_tables, source_of
from support.fake_served import Vllm, fake_server
from support.llama_programs import llama_program
from support.on_card import MODE, open_on_card, set_up_kernels
from support.real_vllm import VLLM_VARIABLE, real_vllm
from support.tiny import make_adapter, make_base
from support.tiny_gguf import make_gguf_base

from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BackendSettings, BatchRow
from openledger_node.engine.load_steps import LoadStep, told_to
from openledger_node.errors import ModelError
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

set_up_kernels()

PROMPTS = [(5, 6, 7), (9,), tuple(range(10, 60)), (40, 41), (3,) * 20]
ADAPTERS = [AdapterId("0xaa"), AdapterId("0xbb"), None]

Open = Callable[[], Backend]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    base = make_base(root / "base", head_dim=32)  # the narrowest that vLLM has
    make_adapter(base, root / "0xaa", seed=1)
    make_adapter(base, root / "0xbb", seed=2, r=7, target_modules=["q_proj", "down_proj"])
    make_gguf_base(base, root / "gguf")
    return root


@pytest.fixture(scope="session")
def vllm_url(tiny: Path) -> Iterator[str]:
    """A server of the tiny base: vLLM itself under `make test-vllm`, else one that only talks like it."""
    command = os.environ.get(VLLM_VARIABLE)
    with real_vllm(command, tiny / "base") if command else fake_server(Vllm()) as url:
        yield url


ACCELERATED = "torch_lora, accelerated"
ON_A_CARD = "torch_lora, on a card"


DEEP = pytest.mark.deep(reason="tests/node/backends/cuda/test_backend.py compares it with torch_lora")


@pytest.fixture(autouse=True)
def overflow_is_silent() -> Iterator[None]:
    """As on a card; numpy, which Triton's interpreter computes with, would warn of rows that only fill a bucket."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=[*plug_names("backend"), ACCELERATED, pytest.param(ON_A_CARD, marks=() if MODE else (DEEP,))])
def open_plug(request: pytest.FixtureRequest, tiny: Path) -> Open:
    is_accelerated = request.param == ACCELERATED
    folders = {"fake": None, "llamacpp": str(tiny / "gguf")}
    settings = BackendSettings(
        base_folder=folders.get(request.param, str(tiny / "base")),
        device="cpu",
        dtype="auto" if is_accelerated else "float32",
        threads=1,
        batch_max=8,
        context_max=128,
        acceleration="auto" if is_accelerated else "off",
        server_url=request.getfixturevalue("vllm_url") if request.param == "vllm" else None,
        server_command=llama_program() if request.param == "llamacpp" else "",
    )

    def opened() -> Backend:
        if request.param == ON_A_CARD:
            return loaded(open_on_card(replace(settings, adapter_bytes=1 << 20)))
        backend: Backend = load_plug("backend", "torch_lora" if is_accelerated else request.param)(settings)
        if is_accelerated and backend.profile.kernel == "torch":
            pytest.skip("needs a processor with AVX512-BF16 and a C++ compiler")
        request.addfinalizer(getattr(backend, "close", lambda: None))
        return loaded(backend)

    def loaded(backend: Backend) -> Backend:
        for adapter_id in filter(None, ADAPTERS):
            load(backend, source_of(tiny, adapter_id))
        return backend

    return opened


def mixed_orders() -> Orders:
    return {f"s{n}": (prompt, ADAPTERS[n % 3]) for n, prompt in enumerate(PROMPTS)}


def test_profile_says_what_was_opened(open_plug: Open) -> None:
    profile = open_plug().profile
    assert 0 < profile.context_max <= 128
    assert profile.end_ids
    assert profile.num_blocks == 0 or profile.num_blocks * BLOCK_TOKENS >= profile.context_max
    assert all((profile.backend, profile.kernel, profile.device, profile.dtype, profile.quantisation))


def test_a_backend_of_ours_says_that_it_loads_the_base(open_plug: Open) -> None:
    heard: list[LoadStep] = []
    with told_to(heard.append):
        backend = open_plug()
    if backend.profile.backend == "torch_lora":
        assert heard[-1].phase == "loading"


def test_tokens_do_not_depend_on_who_shares_the_batch(open_plug: Open) -> None:
    backend = open_plug()
    together = generate(backend, mixed_orders())
    alone = {name: generate(backend, {name: order})[name] for name, order in mixed_orders().items()}
    assert together == alone


def test_tokens_do_not_depend_on_how_a_prompt_is_cut(open_plug: Open) -> None:
    backend = open_plug()
    assert generate(backend, mixed_orders(), chunk=7) == generate(backend, mixed_orders())


def test_a_sequence_goes_on_unharmed_when_a_neighbour_leaves(open_plug: Open) -> None:
    backend = open_plug()
    alone = generate(backend, {"stays": (PROMPTS[2], ADAPTERS[0])}, count=6)["stays"]
    backend.join("goes", ADAPTERS[1])
    backend.join("stays", ADAPTERS[0])
    tables = separate_tables(("stays", "goes"))
    drawn: list[int] = []
    tokens, seen = list(PROMPTS[2]), 0
    for step in range(6):
        row = BatchRow(sequence_id="stays", token_ids=tuple(tokens[seen:]), position=seen, blocks=tables["stays"])
        rows = [replace(row, draw=drawing(len(tokens)))]
        if step < 3:
            beside = BatchRow(sequence_id="goes", token_ids=(step,), position=step, blocks=tables["goes"][:1])
            rows.append(replace(beside, draw=drawing(step + 1)))
        seen = len(tokens)
        drawn.append(backend.step(tuple(rows))["stays"].token)
        tokens.append(drawn[-1])
        if step == 2:
            backend.leave("goes")
    assert drawn == alone


def test_adapters_change_the_answer_and_each_in_its_own_way(open_plug: Open) -> None:
    backend = open_plug()
    answers = generate(backend, {str(adapter): (PROMPTS[0], adapter) for adapter in ADAPTERS})
    assert len({tuple(ids) for ids in answers.values()}) == len(ADAPTERS)


def test_sampling_follows_the_seed_and_nothing_else(open_plug: Open) -> None:
    warm = replace(GREEDY, temperature=1.5)
    orders = {"s": (PROMPTS[0], ADAPTERS[0])}
    first = generate(open_plug(), orders, sampling=warm)
    assert generate(open_plug(), orders, sampling=warm) == first
    assert generate(open_plug(), orders, sampling=replace(warm, seed=2)) != first


def test_an_adapter_that_is_not_loaded_is_refused(open_plug: Open) -> None:
    backend = open_plug()
    backend.unload_adapter(AdapterId("0xaa"))
    with pytest.raises(AdapterRefusedError):
        backend.join("s", AdapterId("0xaa"))


def test_a_folder_that_is_no_adapter_is_refused(open_plug: Open, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefusedError):
        open_plug().read_adapter(source_of(tmp_path, AdapterId("0xcc")))


def test_blocks_may_lie_anywhere_and_hold_what_others_left(open_plug: Open) -> None:
    """Another sequence fills every block; then they are dealt out anew, in any order."""
    backend = open_plug()
    fresh = generate(open_plug(), mixed_orders())
    num_blocks = len(PROMPTS) * TABLE_BLOCKS
    backend.join("before", ADAPTERS[1])
    for first in range(0, num_blocks, TABLE_BLOCKS):
        blocks = tuple(range(first, first + TABLE_BLOCKS))
        backend.step((BatchRow(sequence_id="before", token_ids=(7,) * 128, position=0, blocks=blocks),))
    backend.leave("before")
    numbers = list(range(num_blocks))
    random.Random(7).shuffle(numbers)
    tables = {name: tuple(numbers[n::5]) for n, name in enumerate(mixed_orders())}
    assert generate(backend, mixed_orders(), tables=tables) == fresh
    assert generate(backend, mixed_orders(), tables=tables, chunk=7) == fresh


def test_sequences_that_share_a_prefix_read_the_same_blocks(open_plug: Open) -> None:
    backend = open_plug()
    if not backend.profile.num_blocks:
        return  # it keeps its own cache
    prefix, adapter = tuple(range(20, 52)), ADAPTERS[0]
    orders: Orders = {"a": ((*prefix, 1, 2), adapter), "b": ((*prefix, 3), adapter), "c": ((*prefix, 4), ADAPTERS[1])}
    wanted = generate(open_plug(), orders)
    tables = separate_tables(orders)
    first = generate(backend, {"a": orders["a"]}, tables=tables)
    shared = {**tables, "b": tables["a"][:2] + tables["b"][2:]}
    later = generate(backend, {name: orders[name] for name in "bc"}, tables=shared, seen={"b": len(prefix)})
    assert first | later == wanted


def test_a_real_backend_without_a_base_says_what_to_set() -> None:
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="float32", threads=1, batch_max=1, context_max=64
    )
    with pytest.raises(ModelError, match="base"):
        load_plug("backend", "torch_lora")(settings)


def test_a_tapped_row_gets_taps_exactly_from_a_backend_that_has_them(open_plug: Open) -> None:
    backend = open_plug()
    backend.join("s", AdapterId("0xaa"))
    draw = replace(drawing(3), is_tapped=True)
    rows = (BatchRow(sequence_id="s", token_ids=(5, 6, 7), position=0, blocks=(0,), draw=draw),)
    found = backend.step(rows)
    assert all((drawn.taps is not None) == backend.has_taps for drawn in found.values())
    backend.leave("s")
