"""A receipt's commitments to prompt, answer and generated tokens, which do not reveal them.

Each is salted with 32 random bytes from the payer; otherwise a short text could be guessed from its hash.
"""

from collections.abc import Sequence

from eth_hash.auto import keccak

from .codec import canonical_json
from .constants import FINGERPRINT_LEAF_IDS
from .eip712 import digest_word, hex_digest, keccak_digest
from .errors import MalformedError
from .inference import Message, SamplingParams, Tooling, plain_message, plain_sampling, plain_tooling
from .primitives import ZERO_DIGEST, AdapterId, Digest, RequestId, Salt

FINGERPRINT_TAG = b"openledger.fingerprint/1"
TOKEN_ID_MAX = 2**32 - 1

_LEAF, _NODE = b"\x00", b"\x01"
_NO_ACTIVATIONS = (0).to_bytes(2, "big")  # the length of the activations; version 1 of the fingerprint has none


def prompt_commit(
    salt: Salt, prompt: tuple[Message, ...] | str, sampling: SamplingParams, tooling: Tooling | None = None
) -> Digest:
    """Commit to a prompt: keccak over salt and the canonical JSON of {messages, sampling, seed, tooling}.

    The seed is written as decimal text, because JSON holds only 53-bit integers. A raw text prompt takes the place of
    `messages`. `tooling` is absent without tools.

    Raises:
        MalformedError: a text or a number that canonical JSON can't hold.
    """
    return keccak_digest(committed_prompt(salt, prompt, sampling, tooling))


def output_commit(salt: Salt, text: str) -> Digest:
    """Commit to the delivered text: keccak over salt and its UTF-8.

    Raises:
        MalformedError: the text holds half a surrogate pair.
    """
    return keccak_digest(committed_output(salt, text))


def committed_prompt(
    salt: Salt, prompt: tuple[Message, ...] | str, sampling: SamplingParams, tooling: Tooling | None = None
) -> bytes:
    """The bytes that `prompt_commit` hashes, which a case about the receipt publishes.

    Raises:
        MalformedError: a text or a number that canonical JSON can't hold.
    """
    parameters = plain_sampling(sampling)
    seed = str(parameters.pop("seed"))
    messages = prompt if isinstance(prompt, str) else [plain_message(message) for message in prompt]
    committed = {"messages": messages, "sampling": parameters, "seed": seed}
    if tooling:
        committed["tooling"] = plain_tooling(tooling)
    return digest_word(salt) + canonical_json(committed)


def committed_output(salt: Salt, text: str) -> bytes:
    """The bytes that `output_commit` hashes, which a case about the receipt publishes.

    Raises:
        MalformedError: the text holds half a surrogate pair.
    """
    try:
        return digest_word(salt) + text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a text holds half a surrogate pair, which is no character") from error


def fingerprint(
    *,
    request_id: RequestId,
    adapter_id: AdapterId,
    profile_hash: Digest,
    prompt_tokens: int,
    ids: Sequence[int],
    salt: Salt,
) -> Digest:
    """Commit to the generated token ids, including the stop token, and to their adapter and profile.

    The text alone can't be audited, because its canonical tokenisation often differs from the ids.

    Raises:
        MalformedError: an id has more than 32 bits.
    """
    return keccak_digest(
        FINGERPRINT_TAG
        + digest_word(request_id)
        + digest_word(adapter_id)
        + digest_word(profile_hash)
        + _uint32(prompt_tokens)
        + _uint32(len(ids))
        + digest_word(fingerprint_root(ids))
        + digest_word(salt)
    )


def fingerprint_root(ids: Sequence[int]) -> Digest:
    """The root over leaves of 32 ids, the last of which may be shorter; zero if nothing was generated.

    An odd last node moves up unhashed, so no path depends on a filler.

    Raises:
        MalformedError: an id has more than 32 bits.
    """
    starts = range(0, len(ids), FINGERPRINT_LEAF_IDS)
    level = [_leaf(index, ids[start : start + FINGERPRINT_LEAF_IDS]) for index, start in enumerate(starts)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [keccak(_NODE + left + right) for left, right in pairs] + level[len(level) & ~1 :]
    return hex_digest(level[0]) if level else ZERO_DIGEST


def _leaf(index: int, ids: Sequence[int]) -> bytes:
    packed = b"".join(_uint32(token_id) for token_id in ids)
    return keccak(_LEAF + _uint32(index) + bytes([len(ids)]) + packed + _NO_ACTIVATIONS)


def _uint32(value: int) -> bytes:
    if not 0 <= value <= TOKEN_ID_MAX:
        raise MalformedError(f"{value} is no uint32")
    return value.to_bytes(4, "big")
