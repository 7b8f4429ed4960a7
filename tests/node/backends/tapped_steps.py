"""Taps of a sequence that is fed its tokens among mates, and those of a replay of the same tokens."""

from support.torch_bases import row

from openledger_node.backends.native.backend import NativeBackend
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine.taps import Taps, joined_taps
from openledger_protocol.primitives import AdapterId

Backend = NativeBackend | TorchLoraBackend
PROMPT, ANSWER = tuple(range(5, 38)), (40, 41, 7, 9, 200, 3)


def stepped(backend: Backend, adapter_id: AdapterId, *mates: AdapterId | None) -> Taps:
    """Feed PROMPT and then ANSWER token by token, beside mates that are each a token shorter than the one before.

    The bare base is asked for taps, and has none.
    """
    names = {f"m{number}": mate for number, mate in enumerate(mates, start=1)}
    for name, joining in {"s": adapter_id, **names}.items():
        backend.join(name, joining)
    parts: list[Taps] = []
    ids, position = PROMPT, 0
    for token in ANSWER:
        rows = [row("s", ids, position, is_tapped=True)]
        for number, (name, mate) in enumerate(names.items(), start=1):
            own, at = (ids, position - number) if position else (ids[:-number], 0)
            rows.append(row(name, own, at, first=8 * number, is_tapped=mate is None))
        found = backend.step(tuple(rows))
        assert all(found[name].taps is None for name in names)
        taps = found["s"].taps
        assert taps is not None
        parts.append(taps)
        ids, position = (token,), position + len(ids)
    for name in ("s", *names):
        backend.leave(name)
    return joined_taps(parts)


def replayed(backend: Backend, adapter_id: AdapterId) -> Taps:
    backend.join("r", adapter_id)
    found = backend.replay(row("r", PROMPT + ANSWER[:-1], draw=None), ANSWER)
    backend.leave("r")
    return found.taps
