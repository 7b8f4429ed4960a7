"""GGUF files of a repository on the Hugging Face hub, with the digests that the hub states."""

import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from ..errors import ModelError, NetworkError
from .fetch import FileLink
from .gguf_name import PART_OF_SPLIT, HubGguf, is_companion
from .stores import SPLIT_FIX

ENDPOINT: Final = "https://huggingface.co"
TIMEOUT_S, LOOK_S = 30.0, 3.0
LISTED_MAX = 12
"""A refusal lists at most this many of a repository's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository."""

    path: str
    size_bytes: int
    link: FileLink


def is_hub_up() -> bool:
    """Return True if the hub answers within a moment."""
    import httpx  # takes as long to import as most commands

    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    try:
        httpx.head(endpoint, timeout=LOOK_S)
    except httpx.HTTPError:
        return False
    return True


def find_hub_file(wanted: HubGguf) -> HubFile:
    """Ask the hub for the one file that is wanted.

    Raises:
        NetworkError: the hub does not answer, or does not know the repository.
        ModelError: it has no such file, several of that format, or only parts of one.
    """
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    known = _ask(
        f"{endpoint}/api/models/{wanted.repository}/revision/{quote(wanted.revision or 'main', safe='')}", wanted
    )
    files = {str(each.get("rfilename")): each for each in known.get("siblings") or [] if isinstance(each, dict)}
    path = _choose(wanted, [name for name in files if name.lower().endswith(".gguf") and not is_companion(name)])
    stated = files[path].get("lfs") or {}
    if not stated.get("sha256"):
        raise ModelError(f"the hub states no SHA-256 of {wanted.source(path)}: choose another file")
    commit = known.get("sha") or wanted.revision or "main"
    url = f"{endpoint}/{wanted.repository}/resolve/{quote(commit, safe='')}/{quote(path)}"
    link = FileLink(url=url, sha256=stated["sha256"], headers=_headers())
    return HubFile(path=path, size_bytes=int(stated.get("size") or 0), link=link)


def _ask(url: str, wanted: HubGguf) -> dict[str, Any]:
    """The hub's answer about a revision of a repository."""
    import httpx

    where = f"{wanted.repository}{f' at {wanted.revision}' if wanted.revision else ''}"
    try:
        answer = httpx.get(
            url, params={"blobs": "true"}, headers=_headers(), timeout=TIMEOUT_S, follow_redirects=True
        )
    except httpx.HTTPError as error:
        raise NetworkError(f"the hub does not answer ({error}): check the network and run this again") from error
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
        raise NetworkError(
            f"the hub shows no {where} ({answer.status_code}): check the name, or accept the licence at "
            f"{ENDPOINT}/{wanted.repository} and set HF_TOKEN to a token of yours"
        )
    try:
        content = answer.raise_for_status().json()
    except (httpx.HTTPStatusError, ValueError) as error:
        raise NetworkError(f"the hub refused to list {where} ({error}): run this again later") from error
    return content if isinstance(content, dict) else {}


def _headers() -> dict[str, str]:
    from huggingface_hub import get_token  # takes a moment to import, and is only needed here

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _choose(wanted: HubGguf, files: list[str]) -> str:
    """The one file that is wanted.

    Raises:
        ModelError: there is none, there are several, or only parts of one.
    """
    meant = [file for file in files if wanted.means(file)]
    if any(PART_OF_SPLIT.search(file) for file in meant):
        raise ModelError(
            f"{wanted.repository} has {wanted.wanted} only in parts: {SPLIT_FIX}, or choose another format"
        )
    if len(meant) == 1:
        return meant[0]
    shown = ", ".join(sorted(meant or files)[:LISTED_MAX]) or "no GGUF file at all"
    if not meant:
        raise ModelError(f"{wanted.repository} has no {wanted.wanted}, it has {shown}: choose one of its files")
    raise ModelError(
        f"{wanted.repository} has several files of {wanted.wanted}, {shown}: give one as OWNER/NAME/FILE"
    )
