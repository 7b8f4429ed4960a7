"""A probe at an adapter's first load: a short greedy text that must differ from the base's and match its manifest.

An adapter that answers exactly like the base was never trained, or is not applied, and its seller would be paid for
the base's answers. Token ids and probabilities are compared, because a weak adapter may draw the same tokens.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from openledger_protocol.adapter import AdapterManifest, probe_digest
from openledger_protocol.codec import canonical_digest
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId, Digest

from .. import __version__
from ..models.adapter_source import AdapterSource
from ..models.adapters import MANIFEST_FILE, read_manifest
from .backend import Backend, BatchRow, Draw, Drawn, Profile
from .blocks import BlockPool, Table
from .tokenizer import Tokenizer

PROBE_PROMPTS = (
    "The harbour master opened the log and wrote:",
    "Question: What should be done first?\nAnswer:",
    "Once upon a time there was",
    "def main():",
)
"""A manifest states the first of these prompts whose text is clear; see `LEAD_MIN`."""

PROBE_TOKENS = 8
PROMPT_TOKENS_MAX = 256
LEAD_MIN = 1e-3
"""Nats by which each token of a stated text must be likelier than the second; with less, CPUs may disagree."""

SEQUENCE_ID = "probe"
GREEDY = SamplingParams(max_tokens=PROBE_TOKENS, seed=0, temperature=0, logprobs=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """The prompt for an adapter, and the answer that its manifest states."""

    adapter_id: AdapterId
    name: str
    prompt_ids: tuple[int, ...]
    stated: dict[str, str] | None  # the manifest's probe, if its digest can be compared here


class Prober:
    """Probes adapters on an open backend, in the thread that steps it."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        *,
        pool: BlockPool | None,  # lends blocks for the probe; None: the backend manages its own cache
        base_digest: Digest | None,
        cache_folder: Path | None,  # for verdicts; they are not cached if this or the base's digest is None
    ) -> None:
        self._backend = backend
        self._tokenizer = tokenizer
        self._pool = pool
        self._base_digest = base_digest
        self._cache = cache_folder / "probes" if cache_folder and base_digest else None
        self._base_texts: dict[tuple[int, ...], list[Drawn]] = {}

    def check(self, source: AdapterSource) -> bool:
        """Probe a loaded adapter; return False if the KV cache has no room for it now.

        Raises:
            AdapterRefusedError: it answers exactly like the base, overflows or differs from its manifest, or the
                manifest's prompt is empty or has tokens that the base does not.
        """
        verdict = self._read_verdict(source.id)
        if verdict is None:
            trial = self._trial(source)
            with self._lent_blocks(len(trial.prompt_ids) + PROBE_TOKENS) as blocks:
                if blocks is None:
                    return False
                verdict = self._try(trial, blocks)
            self._keep_verdict(source.id, verdict)
        if verdict:
            raise AdapterRefusedError(verdict)
        return True

    def _trial(self, source: AdapterSource) -> _Trial:
        manifest = _manifest_of(source)
        stated = manifest.probe if manifest else None
        name, profile = manifest.name if manifest else source.id, self._backend.profile
        prompt_ids = self._tokenizer.render(stated["prompt"] if stated else PROBE_PROMPTS[0])
        if not prompt_ids or max(prompt_ids) >= profile.vocab_size:  # a stranger's prompt would crash the engine
            raise AdapterRefusedError(
                f"the probe prompt in the manifest of {name} is empty or has tokens that this base does not"
            )
        fitting = prompt_ids[: max(1, min(PROMPT_TOKENS_MAX, profile.context_max - PROBE_TOKENS))]
        is_comparable = fitting == prompt_ids and _is_exact(profile)
        return _Trial(
            adapter_id=source.id,
            name=name,
            prompt_ids=fitting,
            stated=stated if is_comparable else None,
        )

    def _try(self, trial: _Trial, blocks: tuple[int, ...]) -> str:
        """The reason why an adapter is refused, or an empty string if it is accepted."""
        base = self._base_text(trial.prompt_ids, blocks)
        found: list[Drawn] = []
        for drawn in generate(self._backend, trial.adapter_id, trial.prompt_ids, blocks):
            found.append(drawn)
            if not trial.stated and drawn != base[len(found) - 1]:
                return ""  # one difference from the base is enough
        if len(found) < len(base):
            return f"the numbers of {trial.name} overflow on its first text: it is not usable"
        if found == base:
            return f"{trial.name} answers exactly like the base, to the last digit: train it before it is served"
        if trial.stated and _digest(trial.stated, found) != trial.stated["digest"]:
            return (
                f"{trial.name} does not answer its probe as its manifest states: remove it, and add or pull it again"
            )
        return ""

    def _base_text(self, prompt_ids: tuple[int, ...], blocks: tuple[int, ...]) -> list[Drawn]:
        if prompt_ids not in self._base_texts:
            if len(self._base_texts) >= len(PROBE_PROMPTS):
                self._base_texts.clear()
            self._base_texts[prompt_ids] = list(generate(self._backend, None, prompt_ids, blocks))
        return self._base_texts[prompt_ids]

    @contextmanager
    def _lent_blocks(self, num_tokens: int) -> Iterator[tuple[int, ...] | None]:
        """Borrow free blocks for a while; None if there are too few."""
        if self._pool is None:
            yield ()
            return
        table = Table(None)
        has_room = self._pool.grow(table, num_tokens)
        try:
            yield tuple(table.blocks) if has_room else None
        finally:
            self._pool.free(table)  # the probe's blocks were never indexed, so no sequence reuses them

    def _verdict_file(self, adapter_id: AdapterId) -> Path | None:
        profile = self._backend.profile
        key = {
            "adapter": adapter_id,
            "base": self._base_digest,
            "backend": profile.backend,
            "kernel": profile.kernel,
            "device": profile.device,
            "dtype": profile.dtype,
            "quantisation": profile.quantisation,
            "version": __version__,
        }
        return self._cache / f"{canonical_digest(key)[2:]}.json" if self._cache else None

    def _read_verdict(self, adapter_id: AdapterId) -> str | None:
        file = self._verdict_file(adapter_id)
        try:
            return str(json.loads(file.read_text())["refused"]) if file else None
        except (OSError, ValueError, KeyError, TypeError):  # no verdict, or a damaged file: probe again
            return None

    def _keep_verdict(self, adapter_id: AdapterId, verdict: str) -> None:
        if not (file := self._verdict_file(adapter_id)):
            return
        with suppress(OSError):  # with a full disk the adapter is only probed again at the next start
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps({"adapter": adapter_id, "refused": verdict}) + "\n")
            partial.replace(file)


def generate(
    backend: Backend, adapter_id: AdapterId | None, prompt_ids: tuple[int, ...], blocks: tuple[int, ...]
) -> Iterator[Drawn]:
    """Yield PROBE_TOKENS greedy tokens with their probabilities, or fewer if the numbers overflow."""
    backend.join(SEQUENCE_ID, adapter_id)
    try:
        new_ids, output_ids = prompt_ids, list[int]()
        for position in islice(count(len(prompt_ids)), PROBE_TOKENS):
            draw = Draw(sampling=GREEDY, position=position, output_ids=tuple(output_ids), prompt_ids=prompt_ids)
            row = BatchRow(
                sequence_id=SEQUENCE_ID,
                token_ids=new_ids,
                position=position - len(new_ids),
                blocks=blocks,
                draw=draw,
            )
            drawn = backend.step((row,)).get(SEQUENCE_ID)
            if drawn is None:
                return
            yield drawn
            new_ids = (drawn.token,)
            output_ids.append(drawn.token)
    finally:
        backend.leave(SEQUENCE_ID)


def state_probe(backend: Backend, tokenizer: Tokenizer, adapter_id: AdapterId) -> dict[str, str] | None:
    """The probe that a manifest states of an adapter, computed on the fp32 torch path; None if no text is clear.

    The backend must be otherwise idle, because all its blocks are overwritten.
    """
    assert _is_exact(backend.profile), "other paths round differently"
    blocks = tuple(range(backend.profile.num_blocks))
    for prompt in PROBE_PROMPTS:
        found = list(generate(backend, adapter_id, tokenizer.render(prompt), blocks))
        if len(found) == PROBE_TOKENS and all(_lead(drawn) >= LEAD_MIN for drawn in found):
            return {"prompt": prompt, "digest": _digest({"prompt": prompt}, found)}
    return None


def _digest(probe: dict[str, str], found: list[Drawn]) -> Digest:
    return probe_digest(probe["prompt"], [drawn.token for drawn in found])


def _lead(drawn: Drawn) -> float:
    """The nats by which the token was likelier than the second one."""
    (_, first), (_, second), *_ = drawn.top
    return first - second


def _is_exact(profile: Profile) -> bool:
    """Return True if token ids are the same on every machine."""
    return (profile.kernel, profile.dtype, profile.quantisation) == ("torch", "float32", "none")


def _manifest_of(source: AdapterSource) -> AdapterManifest | None:
    folder = Path(source.folder)
    return read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None
