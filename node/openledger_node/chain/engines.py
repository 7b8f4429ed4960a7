"""What can run a development chain: the engine inside this package, or anvil where somebody has put it."""

import shutil
from pathlib import Path
from typing import Final, Literal

from ..errors import ChainError

Engine = Literal["embedded", "anvil"]

CHAIN_FILES: Final[dict[Engine, str]] = {"embedded": "chain.db", "anvil": "anvil.json"}
"""What a folder holds of each engine's chain; a chain stays with the engine that began it."""

CHECKOUT = Path(__file__).resolve().parents[3]


def engine_of(folder: Path, wanted: str) -> Engine:
    """The engine for a chain's folder; `auto` is the one that began it, else the embedded one.

    Raises:
        ChainError: no engine is called so, or another one began the chain.
    """
    begun: list[Engine] = [engine for engine, name in CHAIN_FILES.items() if (folder / name).exists()]
    if wanted == "auto":
        return begun[0] if begun else "embedded"
    for engine in CHAIN_FILES:
        if engine == wanted:
            if begun and engine not in begun:
                raise ChainError(f"{begun[0]} began the chain in {folder}: use it, or take another folder")
            return engine
    raise ChainError(f"no engine is called {wanted!r}: there are auto, {', '.join(CHAIN_FILES)}")


def find_anvil() -> Path | None:
    """The program, if it is here: in this checkout by `npm ci`, or on the path."""
    # npm's own way in is a script that starts the program as a child and would leave it behind when it is killed.
    packages = CHECKOUT / "contracts" / "node_modules" / "@foundry-rs"
    for program in sorted(packages.glob("anvil-*/bin/anvil")):
        return program
    found = shutil.which("anvil")
    return Path(found) if found else None
