"""Forms of rows that people have: pairs of columns, Alpaca, OpenAI's messages and ShareGPT.

A Datanet's row is one prompt and one completion. A conversation of several turns becomes one row for each answer,
with the turns before it in the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX
from openledger_protocol.errors import MalformedError

TURNS_MAX: Final = 200
NAMED: Final = "columns that you named"
ROLES: Final = ("prompt", "completion", "contributor")
"""Parts that `--columns` can name."""

PAIRS: Final = (
    ("prompt and completion", "prompt", "completion"),
    ("prompt and response", "prompt", "response"),
    ("prompt and answer", "prompt", "answer"),
    ("prompt and output", "prompt", "output"),
    ("question and answer", "question", "answer"),
    ("question and answer", "question", "response"),
    ("question and answer", "q", "a"),
    ("question and answer", "frage", "antwort"),
    ("Alpaca", "instruction", "output"),
    ("Alpaca", "instruction", "response"),
    ("input and output", "input", "output"),
    ("query and response", "query", "response"),
)
CONTEXTS: Final = {"Alpaca": ("input", "context")}
"""Columns of a form that are added to the prompt if they are filled."""

CONVERSATIONS: Final = (("OpenAI messages", "messages"), ("ShareGPT", "conversations"), ("ShareGPT", "conversation"))
SPEAKERS: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowForm:
    """A form of records, and the columns that hold its parts."""

    name: str
    prompt: str | None = None
    completion: str | None = None
    contexts: tuple[str, ...] = ()
    turns: str | None = None
    contributor: str | None = None

    @property
    def columns(self) -> set[str]:
        """The columns that are read."""
        named = (self.prompt, self.completion, self.turns, self.contributor, *self.contexts)
        return {each for each in named if each is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prompt and its completion, before they are checked."""

    prompt: str
    completion: str


def parse_columns(text: str) -> dict[str, str]:
    """Parse `prompt=frage,completion=antwort`.

    Raises:
        MalformedError: a part is unknown or missing.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    named = {role.strip(): column.strip() for role, _, column in pairs}
    wrong = next((role for role, column in named.items() if role not in ROLES or not column), None)
    if wrong is not None or not {"prompt", "completion"} <= set(named):
        raise MalformedError(
            f"can't read the columns {text[:80]!r}: give prompt=COLUMN,completion=COLUMN, and "
            "contributor=COLUMN if there is one"
        )
    return named


def recognise(fields: Mapping[str, Any], named: Mapping[str, str]) -> RowForm | None:
    """Find the form of a record; `named` are columns that the person gave."""
    own = {key.strip().casefold(): key for key in fields}
    contributor = own.get("contributor")
    if named:
        columns = {role: own.get(column.casefold()) for role, column in named.items()}
        if any(column is None for role, column in columns.items() if role != "contributor"):
            return None
        return RowForm(**{"name": NAMED, "contributor": contributor, **columns})  # type: ignore[arg-type]  # roles are fields
    for name, prompt, completion in PAIRS:
        if prompt in own and completion in own:
            contexts = tuple(own[each] for each in CONTEXTS.get(name, ()) if each in own)
            return RowForm(
                name=name,
                prompt=own[prompt],
                completion=own[completion],
                contexts=contexts,
                contributor=contributor,
            )
    for name, turns in CONVERSATIONS:
        if turns in own:
            return RowForm(name=name, turns=own[turns], contributor=contributor)
    return None


def pairs_of(form: RowForm, fields: Mapping[str, Any]) -> list[Pair]:
    """Turn a record into pairs; a conversation gives one for each answer.

    Raises:
        MalformedError: a part is missing or no text; the message names it.
    """
    if form.turns is not None:
        return _from_turns(_turns(fields.get(form.turns)), _system_of(fields))
    assert form.prompt is not None
    assert form.completion is not None
    prompt = _text(form.prompt, fields)
    contexts = [_text(name, fields) for name in form.contexts if fields.get(name) not in (None, "")]
    return [Pair(prompt="\n\n".join([prompt, *contexts]), completion=_text(form.completion, fields))]


def _text(name: str, fields: Mapping[str, Any]) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        kinds = {list: "a list", dict: "an object", bool: "true or false", type(None): "nothing"}
        raise MalformedError(
            f"its {name[:80]!r} holds {kinds.get(type(value), 'no text')}, and a row needs text there"
        )
    if not value.strip():
        raise MalformedError(f"its {name[:80]!r} is empty")
    return value


def _system_of(fields: Mapping[str, Any]) -> str:
    value = fields.get("system")
    return value if isinstance(value, str) else ""


def _turns(value: Any) -> list[tuple[str, str]]:
    """Read a list of `{role, content}` or `{from, value}`."""
    if not isinstance(value, list) or not value:
        raise MalformedError("its conversation must be a list of messages that is not empty")
    if len(value) > TURNS_MAX:
        raise MalformedError(f"its conversation has {len(value)} turns, over {TURNS_MAX}: split it")
    return [_turn(number, each) for number, each in enumerate(value, 1)]


def _turn(number: int, turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise MalformedError(f"message {number} must be an object with a role and a text")
    role = turn.get("role", turn.get("from"))
    speaker = SPEAKERS.get(role.casefold()) if isinstance(role, str) else None
    if speaker is None:
        raise MalformedError(
            f"message {number} is by {str(role)[:40]!r}: only system, user and assistant are learned"
        )
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):  # OpenAI's parts of a message
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        content = "\n".join(part for part in parts if isinstance(part, str)) if all(parts) else None
    if not isinstance(content, str) or not content.strip():
        raise MalformedError(f"message {number} holds no text; tool calls and pictures can't be learned")
    return speaker, content


def _from_turns(turns: Sequence[tuple[str, str]], system: str) -> list[Pair]:
    pairs: list[Pair] = []
    before: list[tuple[str, str]] = []
    asked: list[str] = []
    for speaker, content in turns:
        if speaker == "system":
            system = content
        elif speaker == "user":
            asked.append(content)
        elif asked:  # an answer; a greeting before the first question is left out
            question = "\n\n".join(asked)
            pairs.append(Pair(prompt=_prompt(system, before, question), completion=content))
            before += [("User", question), ("Assistant", content)]
            asked = []
    if not pairs:
        raise MalformedError("its conversation has no answer of the assistant after a message of the user")
    return pairs


def _prompt(system: str, before: Sequence[tuple[str, str]], question: str) -> str:
    """Write a question with the turns before it; the oldest are left out where they would make it too long."""
    head = f"{system}\n\n" if system.strip() else ""
    if not before:
        return head + question
    lines = [f"{speaker}: {content}" for speaker, content in before]
    room = ROW_TEXT_LENGTH_MAX - len(head) - len(f"User: {question}")
    while lines and sum(len(line) + 1 for line in lines) > room:
        lines = lines[2:]
    return head + "\n".join([*lines, f"User: {question}"]) if lines else head + question
