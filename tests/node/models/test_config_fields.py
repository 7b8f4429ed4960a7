"""A config.json that lies, or is no config at all, is refused in one sentence before anything is planned."""

import json
from pathlib import Path
from typing import Any

import pytest

from openledger_node.errors import ModelError
from openledger_node.models.config_fields import CONFIG_BYTES_MAX, SIZES_MAX
from openledger_node.models.decoder_config import OtherDecoderError, read_config

SOUND: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "tie_word_embeddings": True,
}  # fmt: skip


def written(folder: Path, content: str) -> Path:
    base = folder / ".acme--tiny.partial"
    base.mkdir()
    (base / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    return base


def refusal(folder: Path, content: str) -> str:
    with pytest.raises(ModelError) as refused:
        read_config(written(folder, content))
    assert not isinstance(refused.value, OtherDecoderError)
    assert len(str(refused.value)) < 400
    assert "choose another base" in str(refused.value) or "pull the base again" in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("key", SIZES_MAX)
@pytest.mark.parametrize(
    "value", [10**9 + 1 << 10, 10**400, -1, 0, 1.5, "4096", True, [4096]], ids=lambda value: repr(value)[:12]
)
def test_a_size_that_no_model_has_is_named(tmp_path: Path, key: str, value: object) -> None:
    said = refusal(tmp_path, json.dumps({**SOUND, key: value}))
    assert said.startswith(f"the config.json of acme--tiny says {key} = ")
    assert "a whole number from 1 to" in said


@pytest.mark.parametrize(
    "key",
    ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"],
)
def test_a_size_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    fields = {name: value for name, value in SOUND.items() if name != key}
    assert f"has no '{key}'" in refusal(tmp_path, json.dumps(fields))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "[" * 100_000,
        '{"model_type": "llama", "hidden_size": ' + "9" * 5_000 + "}",
        "\udcff",
        json.dumps({**SOUND, "padding": "x" * CONFIG_BYTES_MAX}),
        json.dumps({**SOUND, "rope_scaling": {"type": "linear", "factor": "two"}}),
        json.dumps({**SOUND, "rope_scaling": {"type": "linear", "factor": 10**400}}),
        json.dumps({**SOUND, "gguf": {"bits": "four", "bits_per_number": 4.5}}),
        json.dumps({**SOUND, "gguf": {"bits": 4, "bits_per_number": float("nan")}}),
        json.dumps({**SOUND, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 0}}),
        json.dumps({**SOUND, "quantization_config": ["awq"]}),
    ],
    ids=lambda content: content[:20].strip() or "empty",
)
def test_what_is_no_config_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError) as refused:
        read_config(written(tmp_path, content))
    assert len(str(refused.value)) < 400


def test_another_architecture_is_told_from_a_lie(tmp_path: Path) -> None:
    other = {"model_type": "openelm", "num_key_value_heads": [1, 2, 3]}
    with pytest.raises(OtherDecoderError, match="openelm"):
        read_config(written(tmp_path, json.dumps(other)))
