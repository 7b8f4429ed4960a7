"""The demo base's own GGUF file against transformers' reading of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import greedy
from support.torch_bases import cpu_settings
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import choose_placement
from openledger_node.engine.backend import BatchRow, Draw
from openledger_node.home import Home
from openledger_node.models.bases import find_base, gguf_of, read_base
from openledger_node.models.causal_lm import open_causal_lm
from openledger_node.models.decoder_config import read_config
from openledger_node.models.download import pull_base
from openledger_protocol.constants import DEMO_BASE_DIGEST, DEMO_BASE_NAME
from openledger_protocol.inference import SamplingParams

PROMPT = "<|im_start|>user\nName three primary colours.<|im_end|>\n<|im_start|>assistant\n"
ANSWER_TOKENS = 12
ROOT = Path(__file__).parents[2]
ODD_TEXTS = [
    "\n\n1. one\n\n 22  333\t4444",
    "Ünïcödé — “quotes” ½ ² ٣ 四十二 👩\u200d👩\u200d👧 🇩🇪",
    "<|im_start|>user\nhi<|im_end|><|endoftext|> <repo_name>x<empty_output>",
    "e\u0301 \u1100\u1161 मानक ภาษาไทย \u2028\u3000\u00a0x",
    "    def f(x):\r\n\t\treturn {'a': 1.5e-3}",
]


@pytest.fixture(scope="module")
def gguf(demo_base: Path) -> Path:
    found = gguf_of(demo_base)
    if found is None:
        pytest.skip("an older version has converted the demo base in .home: delete it there, and it is pulled again")
    return found


@pytest.fixture(scope="module")
def theirs(gguf: Path) -> Any:
    """The model as transformers reads it, which takes it a minute."""
    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)


@pytest.fixture(scope="module")
def dequantised(demo_base: Path) -> Any:
    """Transformers' model with the numbers that we read, which are the same to the bit."""
    return open_causal_lm(demo_base, torch.float32)


@pytest.mark.deep(reason="test_gguf_matrices compares every format with gguf's own numbers")
def test_every_tensor_is_the_one_that_transformers_dequantises(dequantised: Any, theirs: Any) -> None:
    ours = dequantised.state_dict()
    wanted = theirs.state_dict()
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name].view(torch.int32), wanted[name].view(torch.int32)) for name in wanted)


def test_the_tokenizer_is_that_of_the_file_with_single_digits(demo_base: Path, gguf: Path) -> None:
    ours = Tokenizer.from_file(str(demo_base / "tokenizer.json"))
    wanted = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).backend_tokenizer
    # transformers does not know the pre-tokenizer `smollm`, and splits as GPT-2 does
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wanted.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    pages = [file.read_text() for file in sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 50
    for text in (*ODD_TEXTS, *pages):
        assert ours.encode(text).ids == wanted.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == wanted.decode(wanted.encode(text).ids)


@pytest.mark.parametrize("quantisation", ["none", "int4"])
def test_greedy_answers_are_those_of_the_dequantised_model(
    demo_base: Path, dequantised: Any, quantisation: str
) -> None:
    tokenizer = Tokenizer.from_file(str(demo_base / "tokenizer.json"))
    ids = tuple(tokenizer.encode(PROMPT).ids)
    settings = cpu_settings(demo_base, batch_max=1, context_max=256, quantisation=quantisation)
    backend = TorchLoraBackend(settings)
    assert generate(backend, ids) == greedy(dequantised, ids, ANSWER_TOKENS)


def test_all_matrices_stay_in_the_bits_of_the_file(demo_base: Path, gguf: Path) -> None:
    weights = load_weights(demo_base, read_config(demo_base), choose_placement("cpu", "float32"), "stored", None)
    maps = [each.weight for layer in weights.layers for each in layer.maps.values()]
    assert {each.bits for each in maps if isinstance(each, GroupMatrix)} == {4}
    assert all(isinstance(each, GroupMatrix) for each in (weights.embedding, *maps))
    assert weights.size_bytes == pytest.approx(gguf.stat().st_size, rel=0.03)


def generate(backend: TorchLoraBackend, prompt: tuple[int, ...]) -> list[int]:
    sampling = SamplingParams(max_tokens=ANSWER_TOKENS, seed=1, temperature=0)
    backend.join("s", None)
    drawn: list[int] = []
    ids, position = prompt, 0
    for _ in range(ANSWER_TOKENS):
        draw = Draw(sampling=sampling, position=position + len(ids))
        row = BatchRow(sequence_id="s", token_ids=ids, position=position, blocks=tuple(range(16)), draw=draw)
        drawn.append(backend.step((row,))["s"].token)
        position, ids = position + len(ids), (drawn[-1],)
    backend.leave("s")
    return drawn


def test_a_file_that_is_here_is_copied_and_described(gguf: Path, tmp_path: Path) -> None:
    home = Home(tmp_path)
    base = pull_base(home, DEMO_BASE_NAME, source=gguf, report=lambda stage: None)
    assert base.folder is not None
    assert (base.digest, base.gguf) == (DEMO_BASE_DIGEST, base.folder / gguf.name)
    assert find_base(home, DEMO_BASE_NAME) == base == read_base(base.folder)
    assert not list(base.folder.glob("*.safetensors"))
