"""Whether a text is what its token ids say: nothing is shown, or gone on from, that the node did not generate."""

from collections.abc import Sequence

from openledger_protocol.errors import ReceiptRefusedError

from ..inference.tokenizer import Tokenizer


class Spelling:
    """Reads an answer's ids along with its text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()
        self._piece = ""  # that the last id has completed
        self._rest = ""  # that the ids say, and the text does not yet

    def take(self, text: str, ids: Sequence[int]) -> None:
        """Take a piece of both; the text may lag behind, up to where a stop string cuts it.

        Raises:
            ReceiptRefusedError: the text is something else.
        """
        for token_id in ids:
            self._piece = self._decoder.push(token_id)
            self._rest += self._piece
        if not self._rest.startswith(text):
            raise ReceiptRefusedError("the text that the node has sent is not what its token ids say")
        self._rest = self._rest[len(text) :]

    def has_ended(self, stop: Sequence[str]) -> bool:
        """Whether the answer ends here by itself: at a token without a text, or before a stop string."""
        return not self._piece or any(self._rest.startswith(cut) for cut in stop)


def has_ended(text: str, ids: Sequence[int], stop: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Whether a whole answer, as it was checked piece by piece, ends by itself."""
    spelling = Spelling(tokenizer)
    spelling.take(text, ids)
    return spelling.has_ended(stop)
