"""Whether a contract is the one that this release compiles: only then do its layout and events mean anything."""

PUSH1, PUSH32 = 0x60, 0x7F
WORD_BYTES = 32
HEAD_BYTES = 5  # how a contract begins: it sets its memory up, before any immutable


def is_code_of(deployed: bytes, creation: bytes) -> bool:
    """Whether creation code leaves this code behind, whatever the constructor wrote into its immutables."""
    starts = (start for start in range(len(creation)) if creation.startswith(deployed[:HEAD_BYTES], start))
    return bool(deployed) and any(
        _is_same_but_for_immutables(creation[start : start + len(deployed)], deployed) for start in starts
    )


def _is_same_but_for_immutables(compiled: bytes, deployed: bytes) -> bool:
    blank = bytearray(deployed)
    for start in _immutables(compiled):
        blank[start : start + WORD_BYTES] = bytes(WORD_BYTES)
    return bytes(blank) == compiled


def _immutables(compiled: bytes) -> list[int]:
    """Where the constructor writes: the compiler leaves 32 zero bytes behind PUSH32 for it, and no constant is so."""
    found, at = [], 0
    while at < len(compiled):
        operation = compiled[at]
        if operation == PUSH32 and not any(compiled[at + 1 : at + 1 + WORD_BYTES]):
            found.append(at + 1)
        at += 1 + (operation - PUSH1 + 1 if PUSH1 <= operation <= PUSH32 else 0)
    return found
