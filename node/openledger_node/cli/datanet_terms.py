"""`datanet create` and `datanet describe`: the terms of a Datanet, its description and its policy."""

from typing import Annotated, Any, Final

import typer

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_name
from openledger_protocol.rules import DATANET_RULES

from ..datanets.about import KNOWN_LANGUAGES, DatanetAbout, changed_about, metadata_text
from ..datanets.licences import check_licence
from ..datanets.store import OwnDatanets
from ..errors import InputError
from .daemon_client import open_node_home
from .datanet import Name
from .datanet_rows import app as app
from .transactions import transaction_command
from .units import ppm_of

NO_LIMIT: Final = 0

Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What the rows are about; public.")]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", metavar="NAME", help="Language of the rows, such as English. Repeat it for others."),
]
OnlyLanguages = Annotated[
    bool | None,
    typer.Option("--only-languages/--any-language", help="Policy: take rows in these languages only."),
]
CharactersMin = Annotated[
    int | None, typer.Option("--min-characters", metavar="N", min=0, help="Policy: least length of a row.")
]
CharactersMax = Annotated[
    int | None,
    typer.Option("--max-characters", metavar="N", min=0, help="Policy: largest length of a row; 0 for no limit."),
]
Quota = Annotated[
    int | None,
    typer.Option(
        "--rows-per-contributor",
        metavar="N",
        min=0,
        help="Policy: most rows of one contributor in a version; 0 for no limit.",
    ),
]
SignedOnly = Annotated[
    bool | None,
    typer.Option("--signed-only/--unsigned-too", help="Policy: take only rows that their contributor has signed."),
]


@transaction_command(app, "datanet create")
def create(
    name: Name,
    licence: Annotated[
        str | None,
        typer.Option(metavar="SPDX", help="Licence of the rows: an SPDX expression such as CC-BY-4.0."),
    ] = None,
    treasury: Annotated[
        str | None,
        typer.Option(help="Account for shares without a contributor; by default the wallet."),
    ] = None,
    owner_share: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Percent of the data's share that its owner keeps, up to 50."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="Attribution rule that may divide its earnings: suffix-v1 (default) or poa-v3 (experimental). "
            "Repeat the option to allow both. It can't be changed later.",
        ),
    ] = None,
    description: Description = None,
    language: Languages = None,
    only_languages: OnlyLanguages = None,
    min_characters: CharactersMin = None,
    max_characters: CharactersMax = None,
    rows_per_contributor: Quota = None,
    signed_only: SignedOnly = None,
) -> dict[str, Any]:
    """Create a Datanet and register it. Run it again on another network to register it there, too.

    Example: `openledger-node datanet create lake --licence CC-BY-4.0 --owner-share 5`
    """
    policy = _policy(min_characters, max_characters, rows_per_contributor, signed_only)
    return {
        "datanet": name,
        "licence": None if licence is None else check_licence(licence),
        "treasury": treasury,
        "owner_ppm": None if owner_share is None else ppm_of(owner_share),
        "rules": sorted({_rule_of(each) for each in rule or ()}),
        "about": _about(name, description, language, only_languages, policy),
    }


@transaction_command(app, "datanet describe")
def describe(
    name: Name,
    description: Description = None,
    language: Languages = None,
    only_languages: OnlyLanguages = None,
    min_characters: CharactersMin = None,
    max_characters: CharactersMax = None,
    rows_per_contributor: Quota = None,
    signed_only: SignedOnly = None,
) -> dict[str, Any]:
    """Change the public description of your Datanet, and its policy. What is left out stays as it is.

    The policy is for rows that come from now on. Published versions don't change.

    Example: `openledger-node datanet describe lake --description "Facts about the lake" --rows-per-contributor 500`
    """
    policy = _policy(min_characters, max_characters, rows_per_contributor, signed_only)
    return {"datanet": name, "about": _about(name, description, language, only_languages, policy)}


def _rule_of(name: str) -> int:
    """The number of an attribution rule.

    Raises:
        InputError: a Datanet can't allow a rule of this name.
    """
    numbers = {known: number for number, known in DATANET_RULES.items()}
    if name not in numbers:
        raise InputError(f"{name!r} is not an attribution rule of Datanets: choose {' or '.join(numbers)}")
    return numbers[name]


def _policy(least: int | None, most: int | None, quota: int | None, signed_only: bool | None) -> dict[str, Any]:
    """The limits that are given."""
    given: dict[str, Any] = {}
    if least is not None:
        given["characters_min"] = least
    if most is not None:
        given["characters_max"] = None if most == NO_LIMIT else most
    if quota is not None:
        given["rows_per_contributor_max"] = None if quota == NO_LIMIT else quota
    if signed_only is not None:
        given["takes_unsigned"] = not signed_only
    return given


def _about(
    name: str,
    description: str | None,
    languages: list[str] | None,
    only_languages: bool | None,
    policy: dict[str, Any],
) -> dict[str, Any] | None:
    """The changes of a description and a policy; None if nothing is given.

    Raises:
        InputError: a value is out of its bounds.
    """
    found = OwnDatanets(open_node_home()).find(check_name(name))
    stored = found.about if found else DatanetAbout()
    given: dict[str, Any] = {}
    if description is not None:
        given["description"] = " ".join(description.split())
    if languages:
        given["languages"] = [_spelled(each) for each in languages]
    if only_languages or (only_languages is None and languages and stored.policy.languages):
        policy = {**policy, "languages": given.get("languages", list(stored.languages))}
        if not policy["languages"]:
            raise InputError("--only-languages needs the languages: give each with --language")
    elif only_languages is False:
        policy = {**policy, "languages": []}
    if policy:
        given["policy"] = policy
    if not given:
        return None
    try:
        metadata_text(changed_about(stored, given))
    except MalformedError as error:
        raise InputError(str(error)) from error
    return given


def _spelled(language: str) -> str:
    """The spelling of a known language; others stay as they are."""
    return next((known for known in KNOWN_LANGUAGES if known.lower() == language.lower()), language)
