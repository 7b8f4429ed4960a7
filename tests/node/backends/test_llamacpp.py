"""The llamacpp plug over a server that only talks like llama-server: what is asked, and what follows from answers."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from node.backends.served_rows import EVERY, GREEDY, PROMPT, decode, run, starts_in
from safetensors.numpy import load_file
from support.batches import source_of
from support.fake_served import NOTE_VARIABLE, Llama, fake_server
from support.llama_programs import fake_program
from support.tiny import make_adapter, make_base
from support.tiny_gguf import make_gguf_base
from support.torch_bases import cpu_settings

from openledger_node.backends.llamacpp import open_backend
from openledger_node.backends.llamacpp.backend import LlamaBackend
from openledger_node.backends.llamacpp.plan import GgufSizes, plan_server
from openledger_node.backends.llamacpp.server import find_program
from openledger_node.engine.backend import AdapterMustWaitError, BackendSettings, Mask
from openledger_node.errors import ModelError
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

ONE, OTHER = AdapterId("0xaa"), AdapterId("0xbb")

Serve = Callable[..., LlamaBackend]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("llamacpp")
    base = make_base(root / "hf", head_dim=32)
    make_gguf_base(base, root / "base")
    make_adapter(base, root / ONE, seed=1)
    make_adapter(base, root / OTHER, seed=2)
    return root


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> BackendSettings:
    return cpu_settings(tiny / "base", dtype="auto", threads=0, cache_folder=str(tmp_path / "cache"))


@pytest.fixture
def serve(settings: BackendSettings) -> Iterator[Serve]:
    """Open the plug over a server of the operator's that behaves as told."""
    with ExitStack() as stack:

        def opened(behaviour: Llama, **changes: Any) -> LlamaBackend:
            url = stack.enter_context(fake_server(behaviour))
            backend = open_backend(replace(settings, server_url=url, **changes))
            behaviour.completions.clear()  # of the check that payers stay apart
            stack.callback(backend.close)
            return backend

        yield opened


@pytest.fixture
def own(settings: BackendSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Open the plug over a server that it starts by itself, whose starts are noted."""
    monkeypatch.setenv(NOTE_VARIABLE, str(tmp_path / "starts"))
    with ExitStack() as stack:

        def opened(*flags: str, **changes: Any) -> LlamaBackend:
            backend = open_backend(replace(settings, server_command=fake_program(*flags), **changes))
            stack.callback(backend.close)
            return backend

        yield opened


def starts(tmp_path: Path) -> list[list[str]]:
    """The arguments of every start so far."""
    return [words for _, words in starts_in(tmp_path / "starts")]


# ---- what is asked


def test_every_sampling_parameter_reaches_the_server(serve: Serve) -> None:
    backend = serve(behaviour := Llama())
    backend.join("s", None)
    run(backend, PROMPT, sampling=EVERY)
    asked = behaviour.completions[0]
    assert asked.pop("response_fields")
    assert asked == {
        "prompt": [5, 6, 7],
        "n_predict": 9,
        "stream": True,
        "return_tokens": True,
        "id_slot": 0,
        "cache_prompt": False,
        "lora": [],
        "samplers": ["penalties", "temperature", "top_k", "min_p", "top_p"],
        "seed": (2**64 - 1 + 3) % (2**32 - 1),
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "repeat_last_n": 12,
        "n_probs": 2,
    }


def test_tokens_that_the_server_holds_back_are_fetched(serve: Serve) -> None:
    plain, backend = serve(Llama(holds_back=False)), serve(behaviour := Llama())
    for each in (plain, backend):
        each.join("s", None)
    wanted = decode(plain, 60)
    assert any(token % 5 == 0 for token in wanted)
    assert decode(backend, 60) == wanted
    drawn = run(plain, (*PROMPT, 1), sampling=replace(GREEDY, logprobs=1))
    assert (drawn.logprob, drawn.top) == (-3.0, ((258, -0.5),))
    assert [asked["stream"] for asked in behaviour.completions[:2]] == [True, False]


def test_a_grammar_masks_each_token_by_itself(serve: Serve) -> None:
    backend = serve(behaviour := Llama())
    backend.join("s", None)
    words = np.zeros(9, dtype=np.uint32)
    words[1] = 1 << 8  # token 40 only
    drawn = run(backend, PROMPT, allowed=Mask(lambda: words))
    assert drawn.token == 40
    assert behaviour.completions[0]["n_predict"] == 1
    assert behaviour.completions[0]["logit_bias"] == [[40, 1000.0]]


def test_penalties_on_the_answer_are_biases_of_one_token(serve: Serve) -> None:
    backend = serve(behaviour := Llama())
    backend.join("s", None)
    sampling = replace(GREEDY, frequency_penalty=0.5, presence_penalty=0.25)
    run(backend, PROMPT, sampling=sampling, output_ids=[9, 7, 9])
    assert behaviour.completions[0]["logit_bias"] == [[7, -0.75], [9, -1.25]]


# ---- payers


def test_a_payer_reuses_its_own_prompt_and_no_other_payers(serve: Serve) -> None:
    backend = serve(behaviour := Llama(num_slots=1, holds_back=False))
    for payer in ("a", "b", "b", "a"):
        backend.join("s", None)
        run(backend, PROMPT, payer=payer, sampling=replace(GREEDY, max_tokens=1))
        backend.leave("s")
    assert [asked["cache_prompt"] for asked in behaviour.completions] == [False, False, True, False]


def test_a_prompt_is_not_reused_on_another_adapter(serve: Serve) -> None:
    slots, seen = serve(Llama(num_slots=1))._slots, []
    for adapter_id in (ONE, OTHER, OTHER, None):
        place = slots.take(("a", adapter_id), PROMPT, 10)
        seen.append(place.may_reuse)
        slots.free(place)
    assert seen == [False, False, True, False]


# ---- adapters


@pytest.mark.process
def test_new_adapters_make_the_server_start_again_once_and_before_the_next_sequence(
    own: Serve, tiny: Path, tmp_path: Path
) -> None:
    backend = own()
    backend.join("s", None)
    plain = decode(backend, 4)
    hosts = {each: backend.read_adapter(source_of(tiny, each)) for each in (ONE, OTHER)}
    with pytest.raises(AdapterMustWaitError):
        backend.load_adapter(ONE, hosts[ONE])
    backend.leave("s")
    for adapter_id, host in hosts.items():
        backend.load_adapter(adapter_id, host)
    assert len(starts(tmp_path)) == 1
    answers = []
    for adapter_id in (ONE, OTHER, None):
        backend.join("s", adapter_id)
        answers.append(decode(backend, 4))
        backend.leave("s")
    assert answers[2] == plain
    assert len({tuple(answer) for answer in answers}) == 3
    first, second = starts(tmp_path)
    assert "--lora" not in first
    assert second[second.index("--lora") + 1] == ",".join(host.file.name for host in hosts.values())
    assert "--lora-init-without-apply" in second


@pytest.mark.process
def test_an_adapter_with_which_the_server_does_not_start_is_refused_and_the_others_go_on(
    own: Serve, tiny: Path
) -> None:
    backend = own("--sulk-with", "1")
    backend.load_adapter(ONE, backend.read_adapter(source_of(tiny, ONE)))
    with pytest.raises(AdapterRefusedError, match="unable to allocate Vulkan0 buffer"):
        backend.join("s", ONE)
    backend.join("s", None)
    assert decode(backend, 3)


def test_the_operators_server_must_have_the_adapter(serve: Serve, tiny: Path) -> None:
    backend = serve(behaviour := Llama())
    host = backend.read_adapter(source_of(tiny, ONE))
    with pytest.raises(AdapterRefusedError, match=f"--lora {host.file}"):
        backend.load_adapter(ONE, host)
    behaviour.adapters.append(str(host.file))
    backend = serve(behaviour)
    backend.load_adapter(ONE, host)
    backend.join("s", ONE)
    run(backend, PROMPT)
    assert behaviour.completions[-1]["lora"] == [{"id": 0, "scale": 1.0}]
    backend.leave("s")
    backend.join("s", None)
    run(backend, PROMPT)
    assert behaviour.completions[-1]["lora"] == [{"id": 0, "scale": 0.0}], "without a list, all would be on"


def test_a_converted_adapter_has_llama_cpps_names_and_order(serve: Serve, tiny: Path) -> None:
    host = serve(Llama()).read_adapter(source_of(tiny, ONE))
    reader = GGUFReader(host.file)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == 2 * 2 * 7
    assert {name.split(".", 2)[2] for name in tensors} >= {"attn_q.weight.lora_a", "ffn_down.weight.lora_b"}
    peft = load_file(tiny / ONE / "adapter_model.safetensors")
    b = peft["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"]
    rows = np.arange(len(b)).reshape(4, 2, 16).swapaxes(1, 2).reshape(-1)  # 4 heads of 32
    np.testing.assert_array_equal(tensors["blk.1.attn_q.weight.lora_b"], 2 * b[rows])  # alpha 8 of rank 4
    assert reader.fields["adapter.lora.alpha"].contents() == 0


def test_dora_and_an_adapter_of_another_base_are_refused(serve: Serve, tiny: Path, tmp_path: Path) -> None:
    backend = serve(Llama())
    make_adapter(tiny / "hf", tmp_path / ONE, seed=3, use_dora=True)
    make_adapter(make_base(tmp_path / "wide", hidden_size=64), tmp_path / OTHER, seed=3)
    with pytest.raises(AdapterRefusedError, match=r"llamacpp has no DoRA.*Use another backend"):
        backend.read_adapter(source_of(tmp_path, ONE))
    with pytest.raises(AdapterRefusedError, match=r"maps 80 to 64; the base's blk.0.ffn_down.weight maps 80 to 48"):
        backend.read_adapter(source_of(tmp_path, OTHER))


# ---- opening


@pytest.mark.process
def test_the_server_is_started_so_that_payers_stay_apart(own: Serve, tmp_path: Path) -> None:
    own("--fit", "off", threads=2)
    (words,) = starts(tmp_path)
    named = dict(zip(words, [*words[1:], ""], strict=True))
    assert (named["--cache-ram"], named["--slot-prompt-similarity"], named["--parallel"]) == ("0", "0", "4")
    assert (named["--ctx-size"], named["--threads"], named["--device"]) == ("512", "2", "none")
    assert {"--kv-unified", "--no-slots", "--no-webui", "--no-cache-idle-slots"} <= set(words)
    assert named["--host"].endswith(".sock")
    assert words[-2:] == ["--fit", "off"]


@pytest.mark.parametrize(
    ("behaviour", "changes", "message"),
    [
        (Llama(is_llama=False), {}, "no llama-server: it answered 404"),
        (Llama(model="/models/other.gguf"), {}, r"serves /models/other.gguf: start it with --model"),
        (Llama(key="secret"), {}, "LLAMA_API_KEY"),
        (Llama(shares=True), {}, "start it with --cache-ram 0 and --slot-prompt-similarity 0"),
        (Llama(), {"quantisation": "int8"}, "as it is stored"),
        (Llama(), {"base_folder": None}, "needs a real base"),
    ],
)
def test_a_server_that_will_not_do_says_what_to_do(
    serve: Serve, behaviour: Llama, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        serve(behaviour, **changes)


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-program --flag", "install llama.cpp"),
        ("true", "is too old, or no llama-server: it has no --cache-ram"),
        (fake_program("-lv", "5"), "would write prompts to its log: remove -lv"),
    ],
)
def test_a_program_that_will_not_do_says_what_to_do(command: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_program(command)


def test_a_torn_file_is_refused_before_a_server_starts(own: Serve, tiny: Path, tmp_path: Path) -> None:
    folder = make_gguf_base(tiny / "hf", tmp_path / "torn")
    os.truncate(folder / "model.gguf", (folder / "model.gguf").stat().st_size - 100)
    with pytest.raises(ModelError, match="not whole"):
        own(base_folder=str(folder))
    assert not (tmp_path / "starts").exists()


@pytest.mark.process
def test_a_server_that_ends_while_it_starts_says_why(own: Serve) -> None:
    with pytest.raises(ModelError, match=r"ended while it started: load_model: unable to allocate Vulkan0 buffer$"):
        own("--sulk")


# ---- memory

GB = 10**9
MODEL = GgufSizes(file_bytes=5 * GB, layer_bytes=140_000_000, num_layers=32, kv_bytes=131_072, context_max=8192)


@pytest.mark.parametrize(
    ("device", "cap", "context", "wanted"),
    [
        ("auto", 0, 2048, (16 * 2048, None)),
        ("auto", 8 * GB, 2048, (18_088, None)),
        ("auto", 5 * GB, 4096, (4096, 27)),  # the rest stays in RAM
        ("cpu", 6 * GB, 2048, (6029, None)),
    ],
)
def test_context_and_layers_fit_under_the_cap(device: str, cap: int, context: int, wanted: tuple[int, int]) -> None:
    settings = cpu_settings(
        "x", device=device, dtype="auto", threads=0, batch_max=16, context_max=context, device_bytes_max=cap
    )
    plan = plan_server(MODEL, settings)
    assert (plan.kv_tokens, plan.gpu_layers) == wanted
    layers = MODEL.num_layers if plan.gpu_layers is None else plan.gpu_layers
    on_device = layers * MODEL.layer_bytes + plan.kv_tokens * MODEL.kv_bytes * layers // MODEL.num_layers
    assert not cap or on_device <= cap
