"""What is kept of a running request beside its tokens: its text so far, and where it stands in its grammar."""

from dataclasses import dataclass

from openledger_protocol.inference import SamplingParams, TokenLogprob

from .answer import Answer
from .backend import Drawn
from .frames import Chunk, Submit
from .grammar import Grammar, Grammars
from .sequence import Sequence
from .tokenizer import Tokenizer


@dataclass(slots=True, kw_only=True)
class Live:
    """One request that is not over."""

    answer: Answer
    grammar: Grammar | None

    def push(self, token_id: int) -> str:
        """Take one token and return the text that may be shown now."""
        if self.grammar:
            self.grammar.push(token_id)
        return self.answer.push(token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How requests begin on one base."""

    tokenizer: Tokenizer
    grammars: Grammars
    end_ids: tuple[int, ...]

    def live(self, sampling: SamplingParams, resumed_ids: tuple[int, ...]) -> Live:
        """Begin an answer, behind the tokens that were given out already.

        Raises:
            MalformedError: its JSON schema is not supported.
        """
        answer = Answer(
            decoder=self.tokenizer.decoder(),
            stop=sampling.stop,
            end_ids=self.end_ids,
            max_tokens=sampling.max_tokens,
        )
        schema = sampling.json_schema
        live = Live(answer=answer, grammar=self.grammars.start(schema) if schema is not None else None)
        for token_id in resumed_ids:
            live.push(token_id)  # its text is out already
        return live


def chunk(sequence_id: str, text: str, drawn: Drawn) -> Chunk:
    """What the daemon is told of a new token."""
    logprobs: tuple[TokenLogprob, ...] = ()
    if drawn.logprob is not None:
        logprobs = (TokenLogprob(id=drawn.token, logprob=drawn.logprob, top=drawn.top),)
    return Chunk(sequence_id=sequence_id, text=text, ids=(drawn.token,), logprobs=logprobs)


def sequence_of(command: Submit) -> Sequence:
    """The tokens of a request as the scheduler takes them."""
    return Sequence(
        sequence_id=command.sequence_id,
        prompt_ids=command.prompt_ids,
        sampling=command.sampling,
        adapter=command.adapter,
        payer=command.payer,
        output_ids=list(command.resumed_ids),
    )
