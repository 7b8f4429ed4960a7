"""The engine alone in this process: its answers are those of the engine's own process, and it shows why."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engine_events import events_in
from support.tiny import make_adapter, make_base

from openledger_node.config import load_config
from openledger_node.engine import frames, nano
from openledger_node.engine.backend import BLOCK_TOKENS, Backend
from openledger_node.engine.frames import EngineChunk, Finished, Submit
from openledger_node.engine.nano import Nano
from openledger_node.engine.options import EngineOptions, engine_options
from openledger_node.engine.worker import Worker
from openledger_node.engine.worker_io import Link
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE, find_base
from openledger_node.plugs import load_plug
from openledger_protocol.inference import Message, SamplingParams

PROMPTS = ["Who steers the ferry?", "Who steers the ferry of Hollowbeck, and since when?"]
ENDLESS = [f"{prompt} ..." for prompt in PROMPTS]
PIECE = re.compile(r"prompt +\S+ \d+ from (\d+), blocks ([\d ]+?)(?: after ([\d ]+))?$")
MakeFolder = Callable[..., Path]


@pytest.fixture
def call(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the program, and returns what it prints; an error is its exit code and its line."""
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["nano", *map(str, words)])
        try:
            nano.main()
        except SystemExit as end:
            return f"{end.code} {capsys.readouterr().err.strip()}"
        return capsys.readouterr().out

    return run


def answers_of_the_worker(options: EngineOptions, asked: list[Submit]) -> dict[str, str]:
    """The texts that the engine's own loop sends over its socket."""
    backend: Backend = load_plug("backend", options.backend)(options.settings)
    ours, theirs = socket.socketpair()
    worker = Worker(Link(theirs), backend, options.command(()))
    for command in asked:
        worker._obey(command)
    decoder, texts, num_finished = frames.frame_decoder(), dict[str, str](), 0
    with ours, theirs:
        while num_finished < len(asked):
            worker._step()
            worker._beat(is_busy=False)
            for event in events_in(decoder, ours.recv(1 << 16)):
                if isinstance(event, EngineChunk):
                    texts[event.sequence_id] = texts.get(event.sequence_id, "") + event.text
                num_finished += isinstance(event, Finished)
    return texts


def check_same(options: EngineOptions, folders: list[Path], home: Home) -> None:
    ours = Nano(options)
    asked = []
    for number, prompt in enumerate(PROMPTS):
        for name, source in [("base", None), *((str(f), nano.adapter_of(home, str(f))) for f in folders)]:
            sampling = SamplingParams(max_tokens=12, seed=number, temperature=0.9)
            ours.ask(f"{name}/{number}", prompt, sampling, source)
            ids = ours._tokenizer.render((Message(role="user", content=prompt),))
            asked.append(Submit(sequence_id=f"{name}/{number}", prompt_ids=ids, sampling=sampling, adapter=source))
    assert len(list(ours.run())) > 1
    assert ours.answers == answers_of_the_worker(options, asked)
    assert len(set(ours.answers.values())) > len(PROMPTS)


def test_answers_are_those_of_the_engine(home: Home, make_adapter_folder: MakeFolder) -> None:
    folders = [make_adapter_folder(name=name, seed=seed) for seed, name in enumerate(("one", "two"))]
    check_same(engine_options(home, load_config(home.config_file)[0], FAKE_BASE), folders, home)


@pytest.mark.slow
def test_answers_of_a_real_decoder_are_those_of_the_engine(home: Home, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    folders = [make_adapter(base, tmp_path / "one", seed=1), make_adapter(base, tmp_path / "two", seed=2, r=7)]
    flags = {"inference.dtype": "float32", "inference.acceleration": "off", "inference.prefill_tokens_max": 24}
    config, _ = load_config(home.config_file, flags=flags)
    check_same(engine_options(home, config, find_base(home, str(base))), folders, home)


def test_answers_stand_side_by_side(call: Callable[..., str], make_adapter_folder: MakeFolder) -> None:
    lines = call("fake", "--adapter", make_adapter_folder(name="lake"), "--tokens", 8, *PROMPTS).splitlines()
    for number, prompt in enumerate(PROMPTS, 1):
        head = lines.index(f"{number}. {prompt}") + 2
        assert lines[head].split() == ["base", "lake"]
        assert lines[head + 1].strip(), "the answers are below their heads"


def test_adapters_of_one_name_are_kept_apart(call: Callable[..., str], make_adapter_folder: MakeFolder) -> None:
    folders = [make_adapter_folder(name=f"{run}/lake", seed=seed) for seed, run in enumerate(("one", "two"))]
    printed = call("fake", "--adapter", folders[0], "--adapter", folders[1], "hello")
    assert all(str(folder) in printed for folder in folders)


def first_piece(lines: list[str], name: str) -> re.Match[str]:
    return next(filter(None, (PIECE.match(line.strip()) for line in lines if name in line)))


def test_the_steps_show_how_prompts_share_a_batch_and_blocks(
    call: Callable[..., str], make_adapter_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_PREFILL_TOKENS_MAX", str(BLOCK_TOKENS))
    lines = call("fake", "--adapter", make_adapter_folder(name="lake"), "--show", "steps", *ENDLESS).splitlines()
    assert "  join     base/1: 42 prompt tokens" in lines
    joined = "  join     lake/1: 42 prompt tokens,"  # a small adapter may be loaded before the first step
    assert {f"{joined} its adapter was there", f"{joined} waited for its adapter"} & {*lines}
    assert any("lake/1 " in line and "lake/2 " in line for line in lines if line.startswith("  draw ")), "one batch"
    own, shared = (first_piece(lines, name) for name in ("lake/1:", "lake/2:"))
    assert (own[1], own[3]) == ("0", None)
    assert int(shared[1]) == BLOCK_TOKENS
    assert shared[3] == own[2].split()[0], "its beginning is in the block that was computed for lake/1"


def test_a_tight_cache_shows_who_gives_way(call: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_KV_CACHE_BYTES", str(8 * 64))  # of the fake's 64 bytes a block
    printed = call("fake", "--show", "steps", "--tokens", 40, "... one prompt", "... another prompt", "... a third")
    assert "no block is free for its next token" in printed


def test_an_adapter_that_can_not_be_read_is_refused_beside_the_others(
    call: Callable[..., str], make_adapter_folder: MakeFolder
) -> None:
    broken = make_adapter_folder(name="broken")
    (broken / "adapter_model.safetensors").write_bytes(b"no weights")
    printed = call("fake", "--adapter", broken, "--adapter", make_adapter_folder(name="sound"), "hello")
    assert "(refused: " in printed


def test_it_starts_as_the_page_says(home: Home) -> None:
    command = [sys.executable, "-m", "openledger_node.engine.nano", "fake", "hello"]
    environment = {**os.environ, "OPENLEDGER_HOME": str(home.root)}
    assert "1. hello" in subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_an_adapter_of_the_library_is_found_by_its_name(
    call: Callable[..., str], home: Home, make_adapter_folder: MakeFolder
) -> None:
    add_adapter(home, make_adapter_folder(), FAKE_BASE, name="harbour")
    assert "harbour" in call("fake", "--adapter", "harbour", "hello")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere", "hello"], 7, "run `openledger-node models pull nowhere`"),
        (["fake", "--adapter", "nobody", "hello"], 7, "there is no folder nobody, and no adapter 'nobody' here"),
        (["fake", "--adapter", "{empty}", "hello"], 7, "holds no adapter_config.json"),
        (["fake", "{empty}", "hello"], 7, "is a folder, not a prompt: for an adapter write --adapter"),
        (["fake"], 2, "PROMPT"),
        (["fake", "hello", "--tokens", "0"], 2, "--tokens must be at least 1"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_to_do(
    call: Callable[..., str], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    printed = call(*(word.replace("{empty}", str(tmp_path / "empty")) for word in words))
    assert printed.startswith(f"{code} ")
    assert message in printed
