"""The house's own rules, beside those that the import linter and scripts/surface.py keep."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

from openledger_node.plugs import PLUGS

PACKAGES = ("node/openledger_node", "protocol/openledger_protocol")
CRUMB_LINES = 60
INIT_LINES_MAX = 5
PLUGS_MIN = 2
QUESTION = re.compile(r"(What|Who|Whose|Whom|How|Whether|That)\b")
HEAVY = ["torch", "transformers", "peft", "trio", "libp2p", "sqlite3", "fastapi", "httpx", "eth_account"]
PLUG_FOLDERS = {"backends", "trainers", "attributors", "clients", "transports", "readers"}

SOCKETS = {
    "Backend": "backend",
    "Trainer": "trainer",
    "ChainClient": "chain",
    "Transport": "transport",
    "Attributor": "attributor",
    "Reader": "reader",
}
"""Each socket's class, and its name in `PLUGS`: its implementations are its plugs."""

PROTOCOLS_ALLOWED = {
    "NetworkMarket": "the router is below network.buying, which implements it, in the order of imports",
    "TappingBackend": "nobody imports a plug, so attribution names the backend that it replays on by its methods",
    "TapReducer": "attribution, which implements it, is above the engine in the order of imports",
    "ReplaySource": "serving, which implements it, is above attribution in the order of imports",
}
"""Protocols with one implementation in the packages: the name, and why the class can't be named in its place."""


@dataclass(frozen=True)
class Source:
    """A file of the packages."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Its syntax tree, the module first."""
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    def docstrings(self) -> Iterator[tuple[int, str]]:
        """Line and text of each docstring; a string below an attribute counts as one."""
        for node in self.nodes:
            value = node.value if isinstance(node, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.lineno, value.value.strip()

    def imported(self) -> Iterator[str]:
        """The files that it may import, by relative and absolute imports at any place in it."""
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom):
                above = self.path.split("/")[1 : -node.level] if node.level else []
                origin = [*above, *(node.module or "").split(".")] if node.module else above
                yield "/".join(origin)
                yield from ("/".join([*origin, alias.name]) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name.replace(".", "/") for alias in node.names)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [Source(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


@pytest.mark.process
def test_only_the_processes_that_need_a_heavy_library_load_it() -> None:
    """Above all: torch is in no process but the engine's and the trainer's."""
    light = ["openledger_protocol.inference", "openledger_node.engine.scheduler", "openledger_node.engine.worker"]
    light += ["openledger_node.serving.admission", "openledger_node.cli.main"]
    assert loaded_by(*light) == set()
    assert loaded_by("openledger_node.daemon") <= {"trio", "sqlite3", "fastapi", "httpx"}


def loaded_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*[name for name in {HEAVY} if name in sys.modules])"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_a_short_module_with_one_importer_in_its_folder_is_merged_into_it(sources: list[Source]) -> None:
    importers = defaultdict(set)
    for source in sources:
        for imported in source.imported():
            importers[imported].add(source)
    crumbs = []
    for source in sources:
        found = importers[source.path.partition("/")[2].removesuffix(".py")] - {source}
        is_short = len(source.text.splitlines()) < CRUMB_LINES and Path(source.path).name != "__init__.py"
        if is_short and len(found) == 1 and {each.folder for each in found} == {source.folder}:
            crumbs += [f"merge {source.path} into {each.path}" for each in found]
    assert crumbs == []


def test_no_class_name_is_used_twice_outside_plug_folders(sources: list[Source]) -> None:
    ours = [source for source in sources if PLUG_FOLDERS.isdisjoint(source.path.split("/"))]
    times = Counter(node.name for source in ours for node in source.classes)
    assert [name for name, number in times.items() if number > 1] == []


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases}


def members(node: ast.ClassDef) -> set[str]:
    """The names that an instance has: methods, fields, and what a method sets on `self`."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(each.name)
        elif isinstance(each, ast.Name | ast.Attribute) and isinstance(each.ctx, ast.Store):
            found.add(each.id if isinstance(each, ast.Name) else each.attr)
    return found


def test_every_protocol_has_two_implementations(sources: list[Source]) -> None:
    """A protocol with `__call__` alone types functions, and is left out."""
    known = [(node.name, bases(node), members(node)) for source in sources for node in source.classes]
    by_name = {name: (parents, own) for name, parents, own in known}

    def whole(name: str, parents: set[str], own: set[str]) -> set[str]:
        return own.union(*(whole(base, *by_name[base]) for base in parents & set(by_name) - {name}))

    wholes = [whole(*each) for each in known if "Protocol" not in each[1]]
    protocols = {name: wanted for name, parents, wanted in known if "Protocol" in parents and wanted != {"__call__"}}
    lone = {name for name, wanted in protocols.items() if sum(wanted <= each for each in wholes) < PLUGS_MIN}
    assert lone - SOCKETS.keys() - PROTOCOLS_ALLOWED.keys() == set(), "delete it and name the class"
    assert set(SOCKETS) <= protocols.keys()


def test_every_socket_has_two_plugs() -> None:
    assert set(SOCKETS.values()) == set(PLUGS)
    assert [socket for socket, plugs in PLUGS.items() if len(plugs) < PLUGS_MIN] == []


def test_no_docstring_starts_with_a_question_word(sources: list[Source]) -> None:
    docstrings = [(source.path, *each) for source in sources for each in source.docstrings()]
    assert [each for each in docstrings if QUESTION.match(each[2])] == []


def test_every_module_and_folder_says_shortly_what_it_is_for(sources: list[Source]) -> None:
    texts = {source.path: ast.get_docstring(source.nodes[0]) or "" for source in sources}  # type: ignore[arg-type]
    assert [path for path, text in texts.items() if not text] == []
    folders = {f"{source.folder}/__init__.py" for source in sources}
    assert folders - texts.keys() == set()
    assert [path for path in folders if len(texts[path].splitlines()) > INIT_LINES_MAX] == []


def test_no_query_has_numbered_placeholders(sources: list[Source]) -> None:
    """Python 3.12 warns of `?1` beside a sequence of values, and 3.14 refuses it."""
    ledger = [source for source in sources if "/ledger/" in source.path]
    texts = [node.value for source in ledger for node in source.nodes if isinstance(node, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and re.search(r"(?<!`)\?[1-9]", text)] == []
