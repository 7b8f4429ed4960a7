"""Rows of logits as models give them, and as they never do."""

import numpy as np

from openledger_node.engine.sampler import Logits


def logits_of(shape: str, size: int, seed: int) -> Logits:
    random = np.random.default_rng(seed)
    row = random.standard_normal(size).astype(np.float32) * 3
    if shape == "flat":
        row *= np.float32(1e-3)
    if shape in ("peaked", "certain"):
        row[random.integers(0, size, 20)] += np.linspace(5, 15 if shape == "peaked" else 60, 20, dtype=np.float32)
    if shape == "ties":
        row = row.round()
    if shape == "zeros":
        row = np.where(row > 0, np.float32(0.0), np.float32(-0.0))
    if shape == "clustered":
        row = np.sort(row)[::-1].copy()
    if shape == "ruled out":
        row[random.random(size) < 0.9] = -np.inf
        row[random.integers(0, size)] = 1.0
    return row * np.float32(1e30) if shape == "huge" else row
