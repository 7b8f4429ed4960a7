"""What a freshly trained adapter answers first, in float32, for its manifest: whoever serves it compares."""

from pathlib import Path

import torch

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ...allowance import usable_bytes
from ...errors import ModelError
from ...inference.backend import Backend, BackendSettings
from ...inference.probe import PROBE_TOKENS, PROMPT_TOKENS_MAX, state_probe
from ...inference.sequence import AdapterPart, AdapterSource
from ...inference.tokenizer import open_tokenizer
from ...plugs import load_plug

FRESH_ID = AdapterId("fresh")  # its real id hangs on the manifest, which the probe is a part of
FLOAT32_SHARE = 2
"""Float32 takes up to twice what the files do."""

RAM_SHARE = 0.5
EXACT_BACKEND = "torch_lora"


def probe_trained(base_folder: Path, folder: Path) -> dict[str, str] | None:
    """Run the probe of the adapter in `folder`; None if that can't be done here, for the training is worth more.

    So it is where the base has no exact path, or its memory would be short in float32.
    """
    files_bytes = sum(file.stat().st_size for file in base_folder.glob("*.safetensors"))
    if FLOAT32_SHARE * files_bytes > RAM_SHARE * usable_bytes():
        return None
    settings = BackendSettings(
        base_folder=str(base_folder),
        device="cpu",
        dtype="float32",
        threads=torch.get_num_threads(),
        batch_max=1,
        context_max=PROMPT_TOKENS_MAX + PROBE_TOKENS,
        acceleration="off",
    )
    source = AdapterSource(id=FRESH_ID, parts=(AdapterPart(folder=str(folder)),))
    try:
        backend: Backend = load_plug("backend", EXACT_BACKEND)(settings)
        backend.load_adapter(FRESH_ID, backend.read_adapter(source))
        return state_probe(backend, open_tokenizer(base_folder), FRESH_ID)
    except (ModelError, AdapterRefusedError):
        return None
