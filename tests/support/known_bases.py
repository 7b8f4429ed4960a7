"""The real sizes of bases that people serve, without their weights."""

from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.rope import rope_from

# (layers, d_model, d_mlp, heads, key heads, head_dim, vocabulary, is_tied)
SHAPES = {
    "Llama-3.2-3B": (28, 3072, 8192, 24, 8, 128, 128_256, True),
    "Qwen3-4B": (36, 2560, 9728, 32, 8, 128, 151_936, True),
    "Llama-3.1-8B": (32, 4096, 14_336, 32, 8, 128, 128_256, False),
    "Qwen3-14B": (40, 5120, 17_408, 40, 8, 128, 151_936, False),
}


def config_of(name: str) -> DecoderConfig:
    layers, d_model, d_mlp, heads, kv_heads, head_dim, vocabulary, is_tied = SHAPES[name]
    return DecoderConfig(
        vocab_size=vocabulary, d_model=d_model, d_mlp=d_mlp, num_layers=layers, num_heads=heads,
        num_kv_heads=kv_heads, head_dim=head_dim, context_max=8192, rope=rope_from({"rope_theta": 500_000.0}),
        norm_eps=1e-5, is_tied=is_tied, has_qkv_bias=False, has_o_bias=False,
        has_mlp_bias=False, has_qk_norm=False, end_ids=(),
    )  # fmt: skip
