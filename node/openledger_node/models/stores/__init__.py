"""Stores of other programs, one file each, as `models/store.py` says."""

from typing import Final

from .lmstudio import LmStudioStore
from .ollama import OllamaStore

STORES: Final = (OllamaStore, LmStudioStore)
