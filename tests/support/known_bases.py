"""The real sizes of bases that people serve, without their weights."""

from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.known_bases import known_base

SHAPES = {
    "Llama-3.2-3B": "meta-llama/Llama-3.2-3B-Instruct",
    "Qwen3-4B": "Qwen/Qwen3-4B-Instruct-2507",
    "Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen3-14B": "Qwen/Qwen3-14B",
}


def config_of(name: str) -> DecoderConfig:
    base = known_base(SHAPES[name])
    assert base is not None
    return base.config
