"""`quantization_config`: what is read, and what is refused by its name."""

from typing import Any

import pytest

from openledger_node.errors import ModelError
from openledger_node.models.stored_format import StoredFormat, stored_format

WEIGHTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
COMPRESSED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": WEIGHTS, "input_activations": None, "targets": ["Linear"]}},
}


def with_weights(**changes: Any) -> dict[str, Any]:
    return {**COMPRESSED, "config_groups": {"group_0": {"weights": {**WEIGHTS, **changes}}}}


READ: list[tuple[dict[str, Any], StoredFormat]] = [
    (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "GEMM", "zero_point": True},
        StoredFormat(method="awq", bits=4, group=128),
    ),
    (
        {"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True, "desc_act": False},
        StoredFormat(method="gptq", bits=8, group=None, has_zero_less_one=True),
    ),
    (
        {"quant_method": "gptq", "bits": 4, "group_size": 64, "checkpoint_format": "gptq_v2"},
        StoredFormat(method="gptq", bits=4, group=64),
    ),
    (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        StoredFormat(method="bitsandbytes", bits=4, group=64, is_float=True),
    ),
    (COMPRESSED, StoredFormat(method="compressed-tensors", bits=4, group=128)),
    (
        with_weights(strategy="channel", group_size=None),
        StoredFormat(method="compressed-tensors", bits=4, group=None),
    ),
]


@pytest.mark.parametrize(("config", "expected"), READ)
def test_published_configs_are_read(config: dict[str, Any], expected: StoredFormat) -> None:
    assert stored_format({"quantization_config": config}, "x") == expected
    assert stored_format({}, "x") is None


UNREAD: list[tuple[dict[str, Any], str]] = [
    ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "x is stored as fp8"),
    ({"bits": 4}, "a format without a name"),
    ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "AWQ in the layout gemv"),
    ({"quant_method": "awq", "bits": 8}, "AWQ in 8 bits"),
    ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "GPTQ in 3 bits"),
    (
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"},
        "GPTQ in the layout marlin",
    ),
    ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*": {}}}, "some maps"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes in 8 bits"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes in fp4"),
    ({**COMPRESSED, "format": "float-quantized"}, "compressed-tensors in the layout float-quantized"),
    (with_weights(type="float", num_bits=8), "group scales of 8 bits"),
    (with_weights(strategy="tensor"), "tensor scales of 4 bits"),
    ({**COMPRESSED, "config_groups": {**COMPRESSED["config_groups"], "group_1": {}}}, "several formats"),
]


@pytest.mark.parametrize(("config", "message"), UNREAD)
def test_other_formats_are_refused_by_name_with_the_backend_that_may_serve_them(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as refusal:
        stored_format({"quantization_config": config}, "x")
    assert 'backend to "vllm"' in str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "gptq", "bits": "four", "group_size": 128},
        {"quant_method": "awq", "bits": 4, "group_size": 0},
        {**COMPRESSED, "config_groups": None},
    ],
)
def test_a_config_that_is_not_whole_says_so(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"not whole .*: pull the base again"):
        stored_format({"quantization_config": config}, "x")
