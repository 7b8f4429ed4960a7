"""Convert GGUF to a Hugging Face folder: `python -m openledger_node.models.convert FILE FOLDER`.

It runs in its own process, so that neither the daemon nor the command line loads torch. Weights are stored as
float32, because no smaller format holds a dequantised Q4_1 value exactly; the engine narrows them as it loads.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def convert(gguf: Path, folder: Path) -> None:
    """Write config, weights, tokenizer and chat template of `gguf` into `folder`."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    config = model.config.to_diff_dict()
    config.pop("quantization_config", None)  # the weights written here are dequantised
    config["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(folder)
    is_tied = model.config.tie_word_embeddings
    weights = {n: w.contiguous() for n, w in model.state_dict().items() if not (is_tied and n == "lm_head.weight")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
