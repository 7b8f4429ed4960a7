"""GGUF files, and where they are found: stores in the true layouts of Ollama and LM Studio, and the hub."""

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from .file_site import Site
from .gguf_models import write_vocabulary

LAYER = "application/vnd.ollama.image."


def write_gguf(
    file: Path, *, architecture: str = "llama", seed: int = 0, file_type: int = gguf.LlamaFileType.ALL_F32
) -> Path:
    """Write a model of one layer, with random weights and a vocabulary of bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    d_model, d_mlp, vocab_size = 32, 64, 120
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name("Tiny")
    writer.add_file_type(file_type)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(d_model)
    writer.add_feed_forward_length(d_mlp)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    write_vocabulary(writer, vocab_size)
    numbers = np.random.default_rng(seed)
    shapes = {
        "token_embd.weight": (vocab_size, d_model),
        "output_norm.weight": (d_model,),
        "blk.0.attn_norm.weight": (d_model,),
        "blk.0.ffn_norm.weight": (d_model,),
        **{f"blk.0.attn_{name}.weight": (d_model, d_model) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}.weight": (d_mlp, d_model) for name in ("gate", "up")},
        "blk.0.ffn_down.weight": (d_model, d_mlp),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, numbers.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


# ---- Ollama


def put_blob(store: Path, content: bytes) -> dict[str, Any]:
    """Put content into a store; returns its digest and size, as a layer has them."""
    digest = hashlib.sha256(content).hexdigest()
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def ollama_manifest(store: Path, weights: bytes | None, *others: str, file_type: str = "Q4_K_M") -> dict[str, Any]:
    """A manifest as `ollama pull` writes it; `others`: the kinds of further layers."""
    config = {"model_format": "gguf", "model_family": "llama", "model_type": "8.0B", "file_type": file_type}
    layers = [{"mediaType": f"{LAYER}model", **put_blob(store, weights)}] if weights is not None else []
    layers += [{"mediaType": f"{LAYER}{kind}", **put_blob(store, kind.encode())} for kind in ("template", *others)]
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            **put_blob(store, json.dumps(config).encode()),
        },
        "layers": layers,
    }


def name_in_ollama(store: Path, path: str, manifest: dict[str, Any] | str, *, root: str = "manifests") -> Path:
    """Give a manifest its name, HOST/OWNER/NAME/TAG, with OWNER and HOST as in `ollama pull` if they are left out."""
    parts = path.split("/")
    full = [*["registry.ollama.ai", "library"][: max(0, 4 - len(parts))], *parts]
    file = store.joinpath(root, *full)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return file


def put_in_ollama(store: Path, path: str, gguf_file: Path, *others: str, root: str = "manifests") -> Path:
    """Put a GGUF file into a store as `ollama pull` does; returns its blob."""
    manifest = ollama_manifest(store, gguf_file.read_bytes(), *others)
    name_in_ollama(store, path, manifest, root=root)
    return store / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")


# ---- the hub


def publish(site: Site, content: bytes, files: list[str], *, revision: str = "main", **changed: Any) -> None:
    """Let a revision of the repository hold `files`, all of the same content; its commit is called after it."""
    siblings, commit = [], f"c0ffee-{revision}"
    for name in files:
        link = site.link(f"owner/name/resolve/{commit}/{name}", content)
        siblings.append({"rfilename": name, "lfs": {"sha256": link.sha256, "size": len(content)}, **changed})
    answer = json.dumps({"sha": commit, "siblings": siblings}).encode()
    site.files[f"/api/models/owner/name/revision/{revision}?blobs=true"] = answer
