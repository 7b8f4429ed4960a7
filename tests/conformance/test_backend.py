"""What every backend must do, run over every plug."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny import make_adapter, make_base

from openledger_node.errors import ModelError
from openledger_node.inference.backend import Backend, BackendSettings, Row
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
PROMPTS = [(5, 6, 7), (9,), tuple(range(10, 60)), (40, 41), (3,) * 20]
ADAPTERS = [AdapterId("0xaa"), AdapterId("0xbb"), None]

Open = Callable[[], Backend]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    base = make_base(root / "base")
    make_adapter(base, root / "0xaa", seed=1)
    make_adapter(base, root / "0xbb", seed=2, r=7, target_modules=["q_proj", "down_proj"])
    return root


@pytest.fixture(params=plug_names("backend"))
def open_plug(request: pytest.FixtureRequest, tiny: Path) -> Open:
    settings = BackendSettings(
        base_folder=None if request.param == "fake" else str(tiny / "base"),
        device="cpu",
        dtype="float32",
        threads=1,
        batch_max=8,
        context_max=128,
    )

    def opened() -> Backend:
        backend: Backend = load_plug("backend", request.param)(settings)
        for adapter_id in filter(None, ADAPTERS):
            backend.load_adapter(adapter_id, tiny / adapter_id)
        return backend

    return opened


def generate(
    backend: Backend,
    orders: dict[str, tuple[tuple[int, ...], AdapterId | None]],
    *,
    count: int = 8,
    chunk: int = 1000,
    sampling: SamplingParams = GREEDY,
) -> dict[str, list[int]]:
    """Run prompts together, in chunks, then decode `count` tokens of each."""
    tokens = {name: list(prompt) for name, (prompt, _) in orders.items()}
    seen = dict.fromkeys(orders, 0)
    for name, (_, adapter_id) in orders.items():
        backend.join(name, adapter_id)
    drawn: dict[str, list[int]] = {name: [] for name in orders}
    while any(len(ids) < count for ids in drawn.values()):
        rows = []
        for name, ids in tokens.items():
            part = tuple(ids[seen[name] : seen[name] + chunk])
            is_last = seen[name] + len(part) == len(ids)
            rows.append(
                Row(sequence_id=name, token_ids=part, position=seen[name], sampling=sampling if is_last else None)
            )
            seen[name] += len(part)
        for name, token in backend.step(tuple(rows)).items():
            tokens[name].append(token)
            drawn[name].append(token)
    for name in orders:
        backend.leave(name)
    return {name: ids[:count] for name, ids in drawn.items()}


def mixed_orders() -> dict[str, tuple[tuple[int, ...], AdapterId | None]]:
    return {f"s{n}": (prompt, ADAPTERS[n % 3]) for n, prompt in enumerate(PROMPTS)}


def test_profile_says_what_was_opened(open_plug: Open) -> None:
    profile = open_plug().profile
    assert 0 < profile.context_max <= 128
    assert profile.end_ids
    assert profile.weight_bytes > 0


def test_tokens_do_not_depend_on_who_shares_the_batch(open_plug: Open) -> None:
    backend = open_plug()
    together = generate(backend, mixed_orders())
    alone = {name: generate(backend, {name: order})[name] for name, order in mixed_orders().items()}
    assert together == alone


def test_tokens_do_not_depend_on_how_a_prompt_is_cut(open_plug: Open) -> None:
    backend = open_plug()
    assert generate(backend, mixed_orders(), chunk=7) == generate(backend, mixed_orders())


def test_tokens_do_not_depend_on_who_left_before(open_plug: Open) -> None:
    backend = open_plug()
    fresh = generate(open_plug(), {"s": (PROMPTS[2], ADAPTERS[0])})
    for name in ("a", "b", "c"):
        backend.join(name, ADAPTERS[1])
    backend.step(tuple(Row(sequence_id=n, token_ids=(1, 2), position=0, sampling=None) for n in ("a", "b", "c")))
    backend.leave("a")  # from the middle, so that whoever is last moves
    used = generate(backend, {"s": (PROMPTS[2], ADAPTERS[0])})
    assert used == fresh


def test_a_sequence_goes_on_unharmed_when_a_neighbour_leaves(open_plug: Open) -> None:
    backend = open_plug()
    alone = generate(backend, {"stays": (PROMPTS[2], ADAPTERS[0])}, count=6)["stays"]
    backend.join("goes", ADAPTERS[1])
    backend.join("stays", ADAPTERS[0])
    drawn: list[int] = []
    tokens, seen = list(PROMPTS[2]), 0
    for step in range(6):
        rows = [Row(sequence_id="stays", token_ids=tuple(tokens[seen:]), position=seen, sampling=GREEDY)]
        if step < 3:
            rows.append(Row(sequence_id="goes", token_ids=(step,), position=step, sampling=GREEDY))
        seen = len(tokens)
        drawn.append(backend.step(tuple(rows))["stays"])
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


def test_only_rows_with_sampling_draw(open_plug: Open) -> None:
    backend = open_plug()
    backend.join("more", None)
    backend.join("last", None)
    drawn = backend.step(
        (
            Row(sequence_id="more", token_ids=(1, 2), position=0, sampling=None),
            Row(sequence_id="last", token_ids=(1, 2), position=0, sampling=GREEDY),
        )
    )
    assert set(drawn) == {"last"}


def test_an_adapter_that_is_not_loaded_is_refused(open_plug: Open) -> None:
    backend = open_plug()
    backend.unload_adapter(AdapterId("0xaa"))
    with pytest.raises(AdapterRefusedError):
        backend.join("s", AdapterId("0xaa"))


def test_a_folder_that_is_no_adapter_is_refused(open_plug: Open, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefusedError):
        open_plug().load_adapter(AdapterId("0xcc"), tmp_path)


def test_a_real_backend_without_a_base_says_what_to_set() -> None:
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="float32", threads=1, batch_max=1, context_max=64
    )
    with pytest.raises(ModelError, match="base"):
        load_plug("backend", "torch_lora")(settings)
