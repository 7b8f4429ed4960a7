"""The vllm plug over a server that only talks like vLLM: what is asked of it, and what follows from its answers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from node.backends.served_rows import EVERY, GREEDY, PROMPT, decode, has_ended, row, run, starts_in
from support.fake_served import NOTE_VARIABLE, Vllm, fake_server
from support.llama_programs import FAKE
from support.processes.nodes import wait_for

from openledger_node.backends.served.client import ServerLostError
from openledger_node.backends.vllm import open_backend, server
from openledger_node.backends.vllm.backend import VllmBackend
from openledger_node.backends.vllm.server import serve_arguments, start_server
from openledger_node.engine.backend import LATER, BackendSettings, BatchRow
from openledger_node.errors import ModelError
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import read_config
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

ADAPTER = AdapterId("0xaa")

Serve = Callable[..., VllmBackend]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"vocab_size": 260, "eos_token_id": 0, "max_position_embeddings": 512}')
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


@pytest.fixture
def settings(base: Path) -> BackendSettings:
    return BackendSettings(
        base_folder=str(base), device="auto", dtype="auto", threads=0, batch_max=4, context_max=128
    )


@pytest.fixture
def serve(settings: BackendSettings) -> Iterator[Serve]:
    """Open the plug over a server that behaves as told."""
    with ExitStack() as stack:

        def opened(behaviour: Vllm, **changes: Any) -> VllmBackend:
            url = stack.enter_context(fake_server(behaviour))
            backend = open_backend(replace(settings, server_url=url, **changes))
            stack.callback(backend.close)
            return backend

        yield opened


def source_of(folder: Path) -> AdapterSource:
    return AdapterSource(id=ADAPTER, folder=str(folder))


# ---- what is asked


def test_an_answer_is_one_request_however_many_steps_read_it(serve: Serve) -> None:
    backend = serve(behaviour := Vllm())
    backend.join("s", None)
    assert backend.step((BatchRow(sequence_id="s", token_ids=(1, 2), position=0),)) == {}
    assert not behaviour.completions, "a piece of a prompt is asked for together with its last"
    ids, position = PROMPT, 2
    for _ in range(20):
        ids, position = (run(backend, ids, position).token,), position + len(ids)
    assert [asked["prompt"] for asked in behaviour.completions] == [[1, 2, *PROMPT]]


def test_every_sampling_parameter_reaches_the_server(serve: Serve) -> None:
    backend = serve(behaviour := Vllm())
    backend.join("s", None)
    schema = '{"type": "object", "properties": {}}'
    sampling = replace(EVERY, frequency_penalty=0.3, presence_penalty=0.4, json_schema=schema)
    run(backend, PROMPT, sampling=sampling)
    assert behaviour.completions[0].pop("cache_salt")
    assert behaviour.completions == [
        {
            "model": "base",
            "prompt": [5, 6, 7],
            "max_tokens": 9,
            "stream": True,
            "return_token_ids": True,
            "stop_token_ids": [0],
            "seed": 2**63 + 2 - 2**63,  # the sum of seed and position, in 63 bits
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "min_p": 0.1,
            "frequency_penalty": 0.3,
            "presence_penalty": 0.4,
            "repetition_penalty": 1.2,
            "logprobs": 2,
            "return_tokens_as_token_ids": True,
            "structured_outputs": {"json": '{"type": "object", "properties": {}, "additionalProperties": false}'},
        }
    ]


def test_each_payer_has_a_cache_of_its_own_under_a_salt_that_nobody_can_guess(serve: Serve) -> None:
    backend, other = serve(behaviour := Vllm()), serve(elsewhere := Vllm())
    asked = ((backend, "a", "0xa"), (backend, "b", "0xb"), (backend, "c", "0xa"), (other, "d", "0xa"))
    for where, name, payer in asked:
        where.join(name, None)
        where.step((row(name, PROMPT, payer=payer),))
    first, second, third = (each["cache_salt"] for each in behaviour.completions)
    assert first == third != second
    assert elsewhere.completions[0]["cache_salt"] != first


def test_the_likeliest_come_first_and_the_drawn_token_is_not_among_them_for_being_drawn(serve: Serve) -> None:
    backend = serve(Vllm())
    backend.join("s", None)
    drawn = run(backend, PROMPT, sampling=replace(GREEDY, logprobs=2))
    assert (drawn.logprob, drawn.top) == (-3.0, ((258, -0.5), (259, -1.0)))


# ---- a stream and the steps beside it


def test_a_token_that_the_stream_did_not_write_begins_another(serve: Serve) -> None:
    backend = serve(behaviour := Vllm())
    backend.join("s", None)
    whole = decode(backend, 4)
    forced = whole[3] % 200 + 1
    run(backend, (forced,), position=6)
    assert [asked["prompt"] for asked in behaviour.completions] == [[5, 6, 7], [5, 6, 7, *whole[:3], forced]]
    backend.leave("s")
    backend.join("s", None)
    assert run(backend, (*PROMPT, *whole[:2])).token == whole[2], "a sequence that lost its place goes on"


def test_a_long_prompt_holds_up_no_other_answer(serve: Serve) -> None:
    backend = serve(behaviour := Vllm(slow_above=50))
    alone = serve(Vllm())
    for name in ("long", "short"):
        backend.join(name, None)
        alone.join(name, None)
    long = row("long", (7,) * 60)
    ids, position, drawn = PROMPT, 0, []
    while len(drawn) < 9:
        found = backend.poll((long, row("short", ids, position)))
        assert found["long"] is LATER
        if found["short"] is not LATER:
            drawn.append(found["short"].token)
            ids, position = (drawn[-1],), position + len(ids)
    behaviour.released.set()
    while (found := backend.poll((long,)))["long"] is LATER:
        pass
    assert found == alone.step((long,))
    assert drawn[0] == alone.step((row("short", PROMPT),))["short"].token
    assert len(behaviour.completions) == 2, "a row that is polled again starts no other stream"


def test_who_leaves_stops_the_server(serve: Serve) -> None:
    backend = serve(behaviour := Vllm(holds_after=1))
    backend.join("s", None)
    run(backend, PROMPT)
    backend.leave("s")
    assert behaviour.aborted.wait(10)


# ---- adapters


def test_an_adapter_is_loaded_from_its_folder_and_used_by_its_id(
    serve: Serve, make_adapter_folder: Callable[..., Path]
) -> None:
    backend = serve(behaviour := Vllm())
    folder = make_adapter_folder()
    host = backend.read_adapter(source_of(folder))
    assert host.size_bytes == (folder / "adapter_model.safetensors").stat().st_size
    backend.load_adapter(ADAPTER, host)
    backend.load_adapter(ADAPTER, host)  # a server that outlived an engine has it already
    assert behaviour.adapters == {ADAPTER: str(folder)}
    backend.join("s", ADAPTER)
    run(backend, PROMPT)
    assert behaviour.completions[0]["model"] == ADAPTER
    backend.leave("s")
    backend.unload_adapter(ADAPTER)
    assert not behaviour.adapters


def test_what_vllm_does_not_load_is_refused_in_its_words(
    serve: Serve, make_adapter_folder: Callable[..., Path]
) -> None:
    backend = serve(Vllm(refuses_adapters="vLLM does not yet support DoRA."))
    host = backend.read_adapter(source_of(make_adapter_folder()))
    with pytest.raises(AdapterRefusedError, match=r"ValueError: vLLM does not yet support DoRA\."):
        backend.load_adapter(ADAPTER, host)


# ---- when it goes wrong


@pytest.mark.parametrize("behaviour", [Vllm(breaks_after=1), Vllm(fails_after=1), Vllm(breaks_after=0)])
def test_an_answer_that_breaks_off_or_an_adapter_that_is_lost_ends_the_engine(
    serve: Serve, make_adapter_folder: Callable[..., Path], behaviour: Vllm
) -> None:
    backend = serve(behaviour)
    backend.join("s", None)
    with pytest.raises(ServerLostError, match="vLLM"):
        decode(backend, 3)
    backend.load_adapter(ADAPTER, backend.read_adapter(source_of(make_adapter_folder())))
    behaviour.adapters.clear()
    backend.join("t", ADAPTER)
    with pytest.raises(ServerLostError, match="404"):
        backend.step((row("t", PROMPT),))


def test_a_request_that_vllm_refuses_draws_nothing_and_leaves_the_others_alone(serve: Serve) -> None:
    backend = serve(behaviour := Vllm(refuses=(400, "the grammar is too much")))
    backend.join("s", None)
    assert backend.step((row("s", PROMPT),)) == {}
    behaviour.refuses = None
    backend.join("t", None)
    assert "t" in backend.step((row("t", PROMPT),))


def test_a_server_that_is_gone_ends_the_engine(settings: BackendSettings) -> None:
    with fake_server(Vllm()) as url:
        backend = open_backend(replace(settings, server_url=url))
    backend.join("s", None)
    with pytest.raises(ServerLostError, match="does not answer"):
        run(backend, PROMPT)


# ---- opening


@pytest.mark.parametrize(
    ("behaviour", "changes", "message"),
    [
        (Vllm(served="other"), {}, "serves other, not base: start it with --served-model-name base"),
        (Vllm(version="0.11.2"), {}, "version 0.11.2: 0.32 is the oldest"),
        (Vllm(loads_adapters=False), {}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        (Vllm(), {"quantisation": "int8"}, "--quantization"),
        (Vllm(), {"base_folder": None}, "needs a real base"),
    ],
)
def test_a_server_that_will_not_do_says_what_to_do(
    serve: Serve, behaviour: Vllm, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        serve(behaviour, **changes)


# ---- a server of our own


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starts of the program that stands in for vLLM."""
    monkeypatch.setattr(server, "END_GRACE_S", 0.1)
    monkeypatch.setenv(NOTE_VARIABLE, str(tmp_path / "starts"))
    return tmp_path / "starts"


@pytest.mark.process
def test_our_own_server_listens_where_only_we_can_go_and_ends_with_us_even_if_it_would_rather_not(
    settings: BackendSettings, base: Path, note: Path
) -> None:
    backend = open_backend(replace(settings, server_command=f"{FAKE} --tensor-parallel-size 4 --stubborn"))
    [(process_id, words)] = starts_in(note)
    socket = Path(words[words.index("--uds") + 1])
    assert words[:-5] == serve_arguments(settings, base, 512)
    assert words[-3:] == ["--tensor-parallel-size", "4", "--stubborn"], "the operator's arguments come last"
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    backend.join("s", None)
    assert run(backend, PROMPT).token
    backend.close()
    assert not socket.parent.exists()
    wait_for(lambda: has_ended(process_id))


LLAMA_8B = {
    "model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "eos_token_id": 0,
}  # fmt: skip
GB = 10**9


@pytest.mark.parametrize(
    ("rank", "batch_max", "cap", "wanted"),
    [
        (8, 16, 0, {"max-lora-rank": "16", "max-loras": "16"}),
        (64, 64, 0, {"max-lora-rank": "64", "max-loras": "4"}),
        (64, 64, 17 * GB, {"max-lora-rank": "64", "max-loras": "1", "gpu-memory-utilization": "0.708"}),
        (600, 1, 0, {"max-lora-rank": "512", "max-loras": "1"}),
    ],
)
def test_a_server_reserves_no_more_for_adapters_than_the_card_has_room_for(
    settings: BackendSettings, base: Path, rank: int, batch_max: int, cap: int, wanted: dict[str, str]
) -> None:
    (base / "config.json").write_text(json.dumps(LLAMA_8B))
    os.truncate(base / "model.safetensors", 16_060_000_000)  # a hole, which takes no disk
    chosen = replace(settings, adapter_rank_max=rank, batch_max=batch_max, device_bytes_max=cap)
    arguments = serve_arguments(chosen, base, 8192, gpu_bytes=24 * GB)
    found = dict(pairwise(arguments))
    assert {name: found.get(f"--{name}") for name in wanted} == wanted
    assert cap or "--gpu-memory-utilization" not in found
    config = read_config(base)
    slot_bytes = 2 * config.num_layers * int(found["--max-lora-rank"]) * sum(map(sum, config.site_dims.values()))
    taken = int(found["--max-loras"]) * slot_bytes
    assert taken <= max(slot_bytes, (cap or 0.9 * 24 * GB) - 16_060_000_000)


@pytest.mark.process
def test_a_server_that_ends_while_it_starts_is_a_model_error_with_its_reason(settings: BackendSettings) -> None:
    with pytest.raises(ModelError, match=r"ended while it started: ValueError: no GPU here$"):
        start_server(replace(settings, server_command=f"{FAKE} --sulk"), Path("base"), None)


@pytest.mark.parametrize("command", ["no-such-program --flag", " "])
def test_a_program_that_is_not_there_says_what_to_install(settings: BackendSettings, command: str) -> None:
    with pytest.raises(ModelError, match="install vLLM into an environment of its own"):
        start_server(replace(settings, server_command=command), Path("base"), None)


@pytest.mark.process
def test_the_server_ends_when_the_engine_is_killed(note: Path) -> None:
    engine = (
        "import os, signal\n"
        "from openledger_node.backends.vllm.server import OwnServer\n"
        f"OwnServer([{str(FAKE)!r}], [], dict(os.environ)).wait_ready()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", engine], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    [(process_id, _)] = starts_in(note)
    wait_for(lambda: has_ended(process_id))
