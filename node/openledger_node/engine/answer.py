"""One growing answer: the text that may be shown, and the reason why it ends."""

from collections import deque
from collections.abc import Callable, Collection
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import FinishReason, TokenLogprob

from .backend import Drawn, Profile, Words
from .frames import Reduced, StepTokens, Submit
from .grammar import Grammar, Grammars
from .reducers import TapReducer
from .sequence import Sequence
from .tokenizer import Decoder, Tokenizer

Text = Callable[[], str]


class AnswerText:
    """Turns tokens into text that may be shown: whole characters, held back where a stop string may begin."""

    def __init__(self, *, decoder: Decoder, stop: tuple[str, ...], end_ids: Collection[int], max_tokens: int) -> None:
        self._decoder = decoder
        self._stop = stop
        self._end_ids = end_ids
        self._max_tokens = max_tokens
        self._num_tokens = 0
        self._held = ""  # decoded, but may begin a stop string
        self.finish_reason: FinishReason | None = None

    def push(self, token_id: int) -> str:
        """Take one token and return the text that may be shown now; set `finish_reason` if the answer ends."""
        return self.take(token_id)()

    def take(self, token_id: int) -> Text:
        """Take one token, set `finish_reason` if the answer ends, and return a function that makes the text to show.

        Texts must be made in the order of their tokens. Only a stop string is found by reading the text, so the text
        of an answer without one is made later, in another thread.
        """
        assert self.finish_reason is None, "the answer is over"
        self._num_tokens += 1
        if token_id in self._end_ids:
            self.finish_reason = "stop"
            return self._release_all
        if self._stop:
            text = self._push_before_stop(token_id)
            return lambda: text
        if self._num_tokens >= self._max_tokens:
            self.finish_reason = "length"
        return partial(self._decoder.push, token_id)

    def _push_before_stop(self, token_id: int) -> str:
        self._held += self._decoder.push(token_id)
        if (cut := self._find_stop()) is not None:
            self._held = self._held[:cut]
            return self._finish("stop")
        if self._num_tokens >= self._max_tokens:
            return self._finish("length")
        return self._release(self._num_showable())

    def _release_all(self) -> str:
        return self._release(len(self._held))

    def _finish(self, reason: FinishReason) -> str:
        self.finish_reason = reason
        return self._release_all()

    def _find_stop(self) -> int | None:
        """The start of the stop string that ends first, so that the way tokens cut the text makes no difference."""
        found = [(place + len(text), place) for text in self._stop if (place := self._held.find(text)) >= 0]
        return min(found)[1] if found else None

    def _num_showable(self) -> int:
        """The number of characters before the longest suffix of the held text that begins a stop string."""
        longest = max((len(text) for text in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-length:]) for text in self._stop):
                return len(self._held) - length
        return len(self._held)

    def _release(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        return shown


# ---- The state of a running request beside its tokens: its text so far, and its place in the grammar.


@dataclass(slots=True, kw_only=True)
class Live:
    """One request that has not ended."""

    answer: AnswerText
    grammar: Grammar | None
    forced: deque[int] = field(default_factory=deque)  # tokens of a scored prompt that are still to be drawn
    scored: list[TokenLogprob] = field(default_factory=list)  # those that were drawn
    reducer: TapReducer | None = None  # of its taps; None: no attribution needs them, or some are lost
    is_replay: bool = False  # `forced` is the whole answer, and nothing follows it

    def take_forced(self, drawn: Drawn) -> None:
        """Take the next token of a scored prompt or of a replay, which is not shown."""
        assert drawn.token == self.forced.popleft(), "no other token was allowed"
        self.scored += _logprobs(drawn)

    def note_taps(self, drawn: Drawn) -> None:
        """Add a token's taps to the answer's signals; without them the answer has none."""
        if self.reducer and drawn.taps is not None:
            self.reducer.add(drawn.taps, drawn.token)
        else:
            self.reducer = None

    @property
    def signals(self) -> Reduced:
        """The signals of the answer so far, if they were requested."""
        return self.reducer.reduced() if self.reducer else ()

    def take(self, token_id: int) -> Text:
        """Take one token and return a function that makes the text to show."""
        if self.grammar:
            self.grammar.push(token_id)
        return self.answer.take(token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSetup:
    """Starts answers on one base."""

    tokenizer: Tokenizer
    grammars: Grammars
    end_ids: tuple[int, ...]

    def live(self, command: Submit) -> Live:
        """Start an answer, or resume it after the tokens that were already sent, here or by another node.

        Raises:
            MalformedError: its JSON schema, or that of a tool, is not supported, or what was delivered does not fit.
        """
        sampling = command.sampling
        answer = AnswerText(
            decoder=self.tokenizer.decoder(),
            stop=sampling.stop,
            end_ids=() if command.ignores_end else self.end_ids,
            max_tokens=sampling.max_tokens,
        )
        live = Live(
            answer=answer,
            grammar=self._grammar(command),
            forced=deque(command.replayed_ids or forced_ids(command)),
            is_replay=bool(command.replayed_ids),
        )
        for token_id in command.resumed_ids:
            live.take(token_id)()  # its text was already sent
        return live

    def _grammar(self, command: Submit) -> Grammar | None:
        """The grammar of an answer, past what another node has delivered of it."""
        schema = command.sampling.json_schema
        if command.grammar:
            grammar = self.grammars.start_lark(command.grammar)
        elif schema is not None:
            grammar = self.grammars.start(schema)
        else:
            return None
        begins = True  # a tokenizer may put a space before a text: at the start, and after an added token
        for token_id in command.prompt_ids[len(command.prompt_ids) - command.num_prefix :]:
            if not (grammar.push_first(token_id) if begins else grammar.push(token_id)):
                raise MalformedError(
                    "the beginning of the answer does not fit its schema: send the request without it"
                )
            begins = self.tokenizer.spell(token_id)[1] is None
        return grammar


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """One sequence's token of a step, and what it did to the answer."""

    sequence_id: str
    drawn: Drawn
    text: Text
    reason: FinishReason | None
    scored: tuple[TokenLogprob, ...] = ()  # of the prompt, with the answer's first token
    signals: Reduced = ()  # of an answer that has ended

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The token's probability, if it was requested, after those of a scored prompt."""
        return self.scored + _logprobs(self.drawn)


def step_tokens(pushed: Items[Pushed]) -> StepTokens:
    """Make the texts of a step's tokens, and the event that tells the daemon of them."""
    has_logprobs = any(one.drawn.logprob is not None for one in pushed)
    has_signals = any(one.signals for one in pushed)
    return StepTokens(
        sequence_ids=tuple(one.sequence_id for one in pushed),
        texts=tuple(one.text() for one in pushed),
        ids=tuple(one.drawn.token for one in pushed),
        reasons=tuple(one.reason for one in pushed),
        logprobs=tuple(one.logprobs for one in pushed) if has_logprobs else (),
        signals=tuple(one.signals for one in pushed) if has_signals else (),
    )


def _logprobs(drawn: Drawn) -> tuple[TokenLogprob, ...]:
    return () if drawn.logprob is None else (TokenLogprob(id=drawn.token, logprob=drawn.logprob, top=drawn.top),)


def forced_ids(command: Submit) -> tuple[int, ...]:
    """The tokens of a prompt to score, which are drawn one by one as if they were the answer.

    Only drawn tokens have probabilities. So the prompt is its first token, and each further one is the only token
    that may be drawn; this costs a step a token, and no backend needs to know. A resumed answer has been scored.
    """
    return command.prompt_ids[1:] if command.scores_prompt and not command.resumed_ids else ()


def check_scores(command: Submit, profile: Profile) -> None:
    """Require a backend that can score a prompt, if the command says so.

    Raises:
        MalformedError: a server draws the tokens, so none can be forced.
    """
    if command.scores_prompt and profile.schedules_itself:
        raise MalformedError(
            f"the backend {profile.backend} gives no probabilities of the prompt's tokens: leave out echo or "
            'logprobs, or set [inference] backend to "torch_lora"'
        )


def check_ending(command: Submit, profile: Profile) -> None:
    """Require that an answer can go on after the base has ended it, if the command says so.

    Raises:
        MalformedError: a server ends the answers, or the answer is over once it fits its schema.
    """
    if command.ignores_end and profile.schedules_itself:
        raise MalformedError(
            f"the backend {profile.backend} ends its answers itself: leave out ignore_eos, or set "
            '[inference] backend to "torch_lora"'
        )
    if command.ignores_end and (command.grammar or command.sampling.json_schema):
        raise MalformedError("an answer with a schema or a required call ends where it fits: leave out ignore_eos")


def only(token_id: int, vocab_size: int) -> Words:
    """The mask that allows one token."""
    words = np.zeros(-(-vocab_size // 32), np.uint32)
    words[token_id // 32] = np.uint32(1 << token_id % 32)
    return words


def sequence_of(command: Submit) -> Sequence:
    """The scheduler's sequence for a command."""
    return Sequence(
        sequence_id=command.sequence_id,
        prompt_ids=command.prompt_ids[: len(command.prompt_ids) - len(forced_ids(command))],
        sampling=command.sampling,
        adapter=command.adapter,
        payer=command.payer,
        num_allowed=command.num_allowed,
        output_ids=list(command.resumed_ids),
        is_tapped=bool(command.signals_folder),
    )
