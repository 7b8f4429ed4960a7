"""The house's own rules, beside those that the import linter keeps.

scripts/surface.py keeps the budgets. Each check here takes sources, and is first shown a bad module that it must
find.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest
from support import structure
from support.processes.nodes import ROOT

from openledger_node.plugs import PLUGS

INIT_LINES_MAX = 5
PLUGS_MIN = 2
HEAVY = ["torch", "transformers", "peft", "trio", "libp2p", "sqlite3", "fastapi", "httpx"]
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

Sources = Mapping[str, str]
SOURCES: Sources = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for package in structure.PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("openledger_protocol.adapter", set()),
        ("openledger_protocol.inference", set()),
        ("openledger_node.engine.scheduler", set()),
        ("openledger_node.engine.blocks", set()),
        ("openledger_node.engine.loader", set()),
        ("openledger_node.engine.frames", set()),
        ("openledger_node.engine.worker", set()),
        ("openledger_node.serving.admission", set()),
        ("openledger_node.daemon", {"trio", "sqlite3", "fastapi", "httpx"}),
        ("openledger_node.cli.main", set()),
    ],
)
def test_a_module_loads_nothing_heavier_than_it_may(module: str, allowed: set[str]) -> None:
    """Above all: torch is in no process but the engine's and the trainer's."""
    assert loaded_by(module) <= allowed


def check(found: list[str]) -> None:
    if found:
        pytest.fail("\n".join(found), pytrace=False)


# ---- sizes


def crumbs(sources: Sources) -> list[str]:
    return [
        f"{path} has under {structure.CRUMB_LINES} lines and one importer: merge it into {importer}"
        for path, importer in structure.crumbs(sources).items()
    ]


CRUMB = {
    "node/house/hall/one.py": "from .two import x",
    "node/house/hall/two.py": "x = 1",
    "node/house/hall/three.py": "from ..room.four import x\nfrom house.hall import five",
    "node/house/room/four.py": "x = 1",
    "node/house/hall/five.py": "x = 1\n" * structure.CRUMB_LINES,
}


def test_no_module_is_a_crumb() -> None:
    (found,) = crumbs(CRUMB)
    assert re.search(r"two\.py .* merge it into .*one\.py", found)
    check(crumbs(SOURCES))


# ---- names


def classes(sources: Sources) -> list[tuple[str, ast.ClassDef]]:
    return [
        (path, node)
        for path, text in sources.items()
        for node in structure.nodes(text)
        if isinstance(node, ast.ClassDef)
    ]


def repeated_names(sources: Sources) -> list[str]:
    places = defaultdict(list)
    for path, node in classes(sources):
        if PLUG_FOLDERS.isdisjoint(path.split("/")):
            places[node.name].append(path)
    return [
        f"{' and '.join(paths)} each have a class {name}: rename one by what it is"
        for name, paths in places.items()
        if len(paths) > 1
    ]


def test_no_class_name_is_used_twice_outside_plug_folders() -> None:
    twice = {
        "node/a.py": "class Money: ...",
        "node/b.py": "class Money: ...",
        "node/clients/c.py": "class Money: ...",
    }
    assert repeated_names(twice) == ["node/a.py and node/b.py each have a class Money: rename one by what it is"]
    check(repeated_names(SOURCES))


# ---- protocols


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


def lone_protocols(sources: Sources, sockets: Iterable[str] = (), allowed: Iterable[str] = ()) -> list[str]:
    """Protocols that fewer than two classes fit; one with `__call__` alone types functions, and is left out."""
    known = [(path, node.name, bases(node), members(node)) for path, node in classes(sources)]
    by_name = {name: (parents, own) for _, name, parents, own in known}

    def whole(name: str, parents: set[str], own: set[str]) -> set[str]:
        return own.union(*(whole(base, *by_name[base]) for base in parents & set(by_name) - {name}))

    wholes = [(name, whole(name, parents, own)) for _, name, parents, own in known if "Protocol" not in parents]
    fitted = {
        f"{path}: {protocol}": [name for name, names in wholes if wanted <= names]
        for path, protocol, parents, wanted in known
        if "Protocol" in parents and wanted != {"__call__"} and protocol not in {*sockets, *allowed}
    }
    return [
        f"{protocol} is fitted by {', '.join(fitting) or 'nothing'}: delete it and name the class"
        for protocol, fitting in fitted.items()
        if len(fitting) < PLUGS_MIN
    ]


PROTOCOL = """
class Door(Protocol):
    name: str
    def open(self): ...
class Call(Protocol):
    def __call__(self): ...
class Base:
    def __init__(self): self.name = ""
class Gate(Base):
    def open(self): ...
class Wall(Base): ...
"""


def test_every_protocol_has_two_implementations() -> None:
    remedy = ": delete it and name the class"
    assert lone_protocols({"a.py": PROTOCOL}) == [f"a.py: Door is fitted by Gate{remedy}"]
    assert lone_protocols({"a.py": PROTOCOL.replace("Wall(Base): ...", "Wall(Gate): ...")}) == []
    assert lone_protocols({"a.py": PROTOCOL}, allowed=["Door"]) == []
    check(lone_protocols(SOURCES, SOCKETS, PROTOCOLS_ALLOWED))


def test_every_socket_has_two_plugs() -> None:
    assert set(SOCKETS.values()) == set(PLUGS)
    assert [socket for socket, plugs in PLUGS.items() if len(plugs) < PLUGS_MIN] == []
    assert set(SOCKETS) <= {node.name for _, node in classes(SOURCES) if "Protocol" in bases(node)}


# ---- docstrings


def question_docstrings(sources: Sources) -> list[str]:
    return [
        f"{path}:{line}: {text.splitlines()[0]!r} starts with {found[0]}: start with a noun phrase or an imperative"
        for path, source in sources.items()
        for line, text in structure.docstrings(source)
        if (found := structure.QUESTION.match(text))
    ]


QUESTIONS = '''
"""What this is for."""
limit = 1
"""How many there may be."""
class Room:
    """A room."""
    def is_open(self):
        """
        Whether it is open.
        """
    def close(self):
        """Whatever is open, close it."""
        print("Who")
'''


def test_no_docstring_starts_with_a_question_word() -> None:
    found = question_docstrings({"a.py": QUESTIONS})
    assert [line.split(":")[1] for line in found] == ["2", "4", "8"]
    check(question_docstrings(SOURCES))


def unexplained(sources: Sources) -> list[str]:
    """Modules without a docstring, folders without one, and folders with a long one."""
    texts = {path: ast.get_docstring(structure.nodes(text)[0]) or "" for path, text in sources.items()}
    folders = {f"{path.rpartition('/')[0]}/__init__.py" for path in sources}
    return [
        *(f"{path} has no docstring: say in a sentence what it is for" for path, text in texts.items() if not text),
        *(f"{path} is missing: say there what its folder is for" for path in sorted(folders - set(texts))),
        *(
            f"{path} has a docstring over {INIT_LINES_MAX} lines: move the rest to the modules that it describes"
            for path in sorted(folders & set(texts))
            if len(texts[path].splitlines()) > INIT_LINES_MAX
        ),
    ]


def test_every_module_and_folder_says_shortly_what_it_is_for() -> None:
    long = '"""One.' + "\n" * INIT_LINES_MAX + 'six"""'
    bad = {"a/__init__.py": long, "a/b.py": "x = 1", "c/d.py": '"""One."""'}
    assert [each.split()[0] for each in unexplained(bad)] == ["a/b.py", "c/__init__.py", "a/__init__.py"]
    check(unexplained(SOURCES))


def numbered_placeholders(source: str) -> list[str]:
    """The texts of a module that look like queries with `?1`; a docstring names it between backticks."""
    texts = [each.value for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and re.search(r"(?<!`)\?[1-9]", text)]


def test_no_query_has_numbered_placeholders() -> None:
    """Python 3.12 warns of `?1` beside a sequence of values, and 3.14 refuses it."""
    assert numbered_placeholders('rows("SELECT * FROM job WHERE at < ?1", (now,))')
    ledger = sorted((ROOT / "node" / "openledger_node" / "ledger").rglob("*.py"))
    assert ledger
    assert {path.name: found for path in ledger if (found := numbered_placeholders(path.read_text()))} == {}
