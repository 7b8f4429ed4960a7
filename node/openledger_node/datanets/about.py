"""A Datanet's description and policy: one small JSON document that its owner keeps on the chain.

Anybody can read the document there, and it may come from a stranger, so a reader ignores what is not as written here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from openledger_protocol.codec import canonical_digest, canonical_json, to_plain
from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX, Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, DatanetId, Digest

from ..errors import NodeError
from ..ledger.events import EventRows
from ..text import counted, on_one_line
from .languages import FREQUENT, OWN_SCRIPT, UNKNOWN, language_of

METADATA_SCHEMA: Final = "openledger.datanet_metadata/1"
METADATA_BYTES_MAX: Final = 4_096
"""As in DatanetRegistry."""

DESCRIPTION_LENGTH_MAX: Final = 1_000
LANGUAGES_MAX, LANGUAGE_LENGTH_MAX = 16, 32
CHARACTERS_MAX: Final = 2 * ROW_TEXT_LENGTH_MAX
ROWS_MAX: Final = 2**20
LICENCE_SHOWN: Final = 64
KNOWN_LANGUAGES: Final = tuple(sorted({*FREQUENT, *OWN_SCRIPT.values()}))
"""Languages that the gate can recognise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetPolicy:
    """Rules for rows, which the owner's node applies to batches; without a limit, every row fits."""

    characters_min: int = 0  # of prompt and completion together
    characters_max: int | None = None
    languages: tuple[str, ...] = ()  # empty: any
    rows_per_contributor_max: int | None = None  # in one version
    takes_unsigned: bool = True  # rows that their contributor has not signed

    @property
    def digest(self) -> Digest:
        """SHA-256 of the policy's canonical JSON, by which a version names it."""
        return canonical_digest(to_plain(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetAbout:
    """The subject of a Datanet, and its policy."""

    description: str = ""
    languages: tuple[str, ...] = ()
    policy: DatanetPolicy = field(default_factory=DatanetPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A row that the policy does not take."""

    row: int  # counted from 1 in its batch
    reason: str  # with the limit


def metadata_text(about: DatanetAbout) -> str:
    """The document for the chain.

    Raises:
        MalformedError: it is longer than the registry takes.
    """
    plain = to_plain(about)
    assert isinstance(plain, dict)
    text = canonical_json({"schema": METADATA_SCHEMA, **plain})
    if len(text) > METADATA_BYTES_MAX:
        raise MalformedError(
            f"the description and policy take {len(text)} bytes on the chain, over {METADATA_BYTES_MAX}: "
            "shorten the description"
        )
    return text.decode()


def about_from_json(content: object) -> DatanetAbout:
    """Read a description and a policy, and check every value.

    Raises:
        MalformedError: a field is unknown, missing or out of its bounds.
    """
    found = _fields(DatanetAbout, content, "a description")
    description = found["description"]
    if not isinstance(description, str) or len(description) > DESCRIPTION_LENGTH_MAX:
        raise MalformedError(f"a description is a text of at most {DESCRIPTION_LENGTH_MAX} characters")
    return DatanetAbout(
        description=on_one_line(description),
        languages=_languages(found["languages"]),
        policy=policy_from_json(found["policy"]),
    )


def changed_about(about: DatanetAbout, given: object) -> DatanetAbout:
    """Replace the fields that are given, also single ones of the policy; None changes nothing.

    Raises:
        MalformedError: a field is unknown or out of its bounds.
    """
    if given is None:
        return about
    if not isinstance(given, dict) or not isinstance(given.get("policy", {}), dict):
        raise MalformedError("a description is an object with the fields description, languages and policy")
    plain: Any = to_plain(about)
    return about_from_json({**plain, **given, "policy": {**plain["policy"], **given.get("policy", {})}})


def policy_from_json(content: object) -> DatanetPolicy:
    """Read a policy.

    Raises:
        MalformedError: a field is unknown, missing or out of its bounds.
    """
    found = _fields(DatanetPolicy, content, "a policy")
    policy = DatanetPolicy(
        characters_min=_number(found, "characters_min", 0, CHARACTERS_MAX) or 0,
        characters_max=_number(found, "characters_max", 1, CHARACTERS_MAX),
        languages=_languages(found["languages"]),
        rows_per_contributor_max=_number(found, "rows_per_contributor_max", 1, ROWS_MAX),
        takes_unsigned=found["takes_unsigned"],
    )
    if type(policy.takes_unsigned) is not bool:
        raise MalformedError("a policy's takes_unsigned must be true or false")
    if policy.characters_max is not None and policy.characters_min > policy.characters_max:
        raise MalformedError(
            f"a row can't have at least {policy.characters_min} and at most {policy.characters_max} characters"
        )
    if unknown := set(policy.languages) - set(KNOWN_LANGUAGES):
        raise MalformedError(
            f"the language {sorted(unknown)[0]} of a row can't be recognised, so a policy can't demand it; "
            f"languages that can be: {', '.join(KNOWN_LANGUAGES)}"
        )
    return policy


def read_about(events: EventRows, datanet_id: DatanetId) -> DatanetAbout | None:
    """The newest description of a Datanet on the chain; None if there is none, or none that is well-formed."""
    described = events.find("DatanetDescribed", {"id": datanet_id})
    return about_from_metadata(str(described[-1].arguments["metadata"])) if described else None


def read_licence(events: EventRows, datanet_id: DatanetId) -> str | None:
    """The licence that a Datanet was created with; None if its creation has not been read."""
    created = events.find("DatanetCreated", {"id": datanet_id})
    return licence_of(str(created[-1].arguments["licence"])) if created else None


def licence_of(text: str) -> str:
    """A licence from the chain on one line, and short."""
    return on_one_line(text[:LICENCE_SHOWN])


def about_from_metadata(text: str) -> DatanetAbout | None:
    """Read the document from the chain; None if it is not one."""
    if len(text) > METADATA_BYTES_MAX:
        return None
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop("schema", None) != METADATA_SCHEMA:
            return None
        return about_from_json(content)
    except (ValueError, RecursionError, MalformedError):
        return None


# ---- Rows


def find_breaches(
    policy: DatanetPolicy,
    rows: Sequence[Row],
    *,
    earlier: Iterable[Row] = (),
    accounts: Mapping[str, Address] | None = None,
    is_signed: bool = True,
) -> list[Breach]:
    """Find the rows that a policy does not take, in their order; `earlier` are those that the next version has.

    A row whose language is unknown is in none that could be wrong. A row that breaks another rule does not use up its
    contributor's quota.
    """
    if policy == DatanetPolicy():
        return []
    if not is_signed and not policy.takes_unsigned:
        why = "it is not signed by its contributor, and this Datanet takes signed rows only"
        return [Breach(row=number, reason=why) for number in range(1, len(rows) + 1)]
    known = accounts or {}
    counts = dict[str, int]()
    for row in earlier:
        person = known.get(row.contributor, row.contributor)
        counts[person] = counts.get(person, 0) + 1
    found = []
    for number, row in enumerate(rows, 1):
        person = known.get(row.contributor, row.contributor)
        reason = _reason(policy, row) or _over_quota(policy, person, counts.get(person, 0))
        if reason:
            found.append(Breach(row=number, reason=reason))
        else:
            counts[person] = counts.get(person, 0) + 1
    return found


def rows_within(name: str, rows: Sequence[Row], breaches: Sequence[Breach]) -> tuple[Row, ...]:
    """Leave out the rows that the policy does not take.

    Raises:
        NodeError: no row is left.
    """
    broken = {each.row for each in breaches}
    left = tuple(row for number, row in enumerate(rows, 1) if number not in broken)
    if not left:
        raise NodeError(
            f"the policy of {name} takes none of these rows: `openledger-node datanet show {name}` shows it, and "
            f"`openledger-node datanet describe {name}` changes it"
        )
    return left


def breaches_text(breaches: Sequence[Breach], *, most: int = 3) -> str:
    """The first breaches in one sentence."""
    lines = "; ".join(f"row {each.row}: {each.reason}" for each in breaches[:most])
    return lines if len(breaches) <= most else f"{lines}; and {len(breaches) - most} more"


def policy_lines(policy: DatanetPolicy) -> list[str]:
    """The limits of a policy in words; none for one that takes every row."""
    quota, longest = policy.rows_per_contributor_max, policy.characters_max
    lines = (
        f"at least {counted(policy.characters_min, 'character')} a row" if policy.characters_min else "",
        "" if longest is None else f"at most {counted(longest, 'character')} a row",
        f"only {', '.join(policy.languages)}" if policy.languages else "",
        "" if quota is None else f"at most {counted(quota, 'row')} of one contributor in a version",
        "" if policy.takes_unsigned else "only rows that their contributor has signed",
    )
    return [line for line in lines if line]


def _reason(policy: DatanetPolicy, row: Row) -> str:
    length = len(row.prompt) + len(row.completion)
    if length < policy.characters_min:
        return f"it has {counted(length, 'character')}, under the least of {policy.characters_min}"
    if policy.characters_max is not None and length > policy.characters_max:
        return f"it has {counted(length, 'character')}, over the most of {policy.characters_max:,}"
    if policy.languages:
        language = language_of(f"{row.prompt}\n{row.completion}")
        if language not in (UNKNOWN, *policy.languages):
            return f"it is in {language}, and this Datanet takes {', '.join(policy.languages)}"
    return ""


def _over_quota(policy: DatanetPolicy, person: str, count: int) -> str:
    most = policy.rows_per_contributor_max
    if most is None or count < most:
        return ""
    return f"{person} has {counted(count, 'row')} in the next version already, and the most is {most:,}"


# ---- Fields


def _number(content: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = content[name]
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise MalformedError(f"a policy's {name} is a number from {least} to {most:,}, not {repr(value)[:40]}")
    return None if value is None else int(value)


def _languages(content: object) -> tuple[str, ...]:
    if not isinstance(content, list | tuple) or len(content) > LANGUAGES_MAX:
        raise MalformedError(f"languages are a list of at most {LANGUAGES_MAX} names")
    if not all(isinstance(each, str) and 1 <= len(each) <= LANGUAGE_LENGTH_MAX for each in content):
        raise MalformedError(f"a language is a name of 1 to {LANGUAGE_LENGTH_MAX} characters, such as English")
    return tuple(dict.fromkeys(on_one_line(each) for each in content))


def _fields(cls: type[Any], content: object, what: str) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"{what} has the fields {', '.join(sorted(names))}")
    return content


def datanet_name(events: EventRows, datanet_id: DatanetId) -> str | None:
    """Find the name that a Datanet's owner registered on the chain; None if its event has not been read yet."""
    created = events.find("DatanetCreated", {"id": datanet_id})
    return str(created[-1].arguments["name"]) if created else None
