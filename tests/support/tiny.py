"""Tiny real models, made on the spot: whole Hugging Face folders and PEFT adapters of a few kilobytes."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from openledger_node.models.causal_lm import open_causal_lm

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
END_ID = 0

SEEING_TEXT = {
    "model_type": "gemma3_text", "vocab_size": 260, "hidden_size": 48, "intermediate_size": 80,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
    "max_position_embeddings": 256, "initializer_range": 0.3, "query_pre_attn_scalar": 20,
    "sliding_window": 7, "sliding_window_pattern": 2, "eos_token_id": END_ID, "bos_token_id": None,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 500.0, "rope_local_base_freq": 50.0,
}  # fmt: skip
"""The text part of a base that takes images, with the keys of configs on the Hugging Face hub."""

SEEING_EYES = {
    "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip


def make_base(folder: Path, *, model_type: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """Write a random model of a family, large enough that two prompts never get the same answer."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 260,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": END_ID,
        "pad_token_id": None,
        "sliding_window": None,
    }
    config = AutoConfig.for_model(model_type, **{**sizes, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if name.endswith(("bias", "norm.weight")):
            torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.3)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def make_seeing_base(folder: Path) -> Path:
    """Write a random Gemma 3 that takes images and text."""
    torch.manual_seed(0)
    tokens = {"image_token_index": 259, "boi_token_index": 258, "eoi_token_index": 257}
    config = AutoConfig.for_model(
        "gemma3", text_config=SEEING_TEXT, vision_config=SEEING_EYES, mm_tokens_per_image=4, **tokens
    )
    AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def make_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with one end token and no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": END_ID, **{letter: number for number, letter in enumerate(alphabet, start=1)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<end>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def make_adapter(base: Path, folder: Path, *, seed: int, scale: float = 0.3, **settings: Any) -> Path:
    """Write a random PEFT adapter that changes what the base says."""
    torch.manual_seed(seed)
    model = open_causal_lm(base, torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": targets, "init_lora_weights": False, **settings}
    )
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(scale)
    adapted.save_pretrained(folder)
    return folder


def greedy(model: Any, prompt_ids: tuple[int, ...], count: int) -> list[int]:
    """What transformers itself generates, whatever token ends a text."""
    ids = torch.tensor([prompt_ids])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    tokens: list[int] = output[0, len(prompt_ids) :].tolist()
    return tokens
