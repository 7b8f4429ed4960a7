"""The docs are true: what exists is in them, and what they name exists."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from house.scripts import load_script
from support.processes.nodes import ROOT
from support.rows import job_of

from openledger_node.api import openai
from openledger_node.api import schemas as bodies
from openledger_node.api.app import build_api
from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS
from openledger_node.api.errors import CODES
from openledger_node.api.metrics import NODE_METRICS
from openledger_node.api.operator import build_operator
from openledger_node.api.request_fields import HARMLESS, UNSUPPORTED
from openledger_node.cli import main as cli
from openledger_node.cli.command_tree import Command, load_tree, read_line
from openledger_node.cli.doctor import PROBLEMS_FOUND
from openledger_node.cli.help_text import HELP_OPTION, ROOT_OPTIONS
from openledger_node.cli.jobs import job_to_json
from openledger_node.cli.status import stopped_status
from openledger_node.config import TABLES, render_example
from openledger_node.errors import NodeError
from openledger_node.first_words import FIRST_QUESTION
from openledger_node.home import CommandRunningError, Home
from openledger_node.models.bases import BASE_SCHEMA
from openledger_protocol.adapter import ADAPTER_SCHEMA, AdapterManifest
from openledger_protocol.datanet import Row

make_reference = load_script("make_reference")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROADS_NOT_TAKEN = ROOT / "docs" / "decisions" / "roads-not-taken.md"
DECISIONS = sorted(file for file in ROADS_NOT_TAKEN.parent.glob("*.md") if file != ROADS_NOT_TAKEN)
COMMAND = load_tree()
PROGRAM_OPTIONS = {name for option in (*ROOT_OPTIONS, HELP_OPTION) for name in option.names}

SETTING = r"`(\[[a-z]+\] [a-z0-9_]+)"

FORBIDDEN = [
    b"/wor" + b"k/",
    b"/roo" + b"t/",
    b"pythonh" + b"osted",
    b"pypi.org" + b"/simple",
    b"registry.n" + b"pmjs",
]
"""Paths of the machine that something was written on, and hosts that only an operator's own tools may name."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---- what exists is in the docs


def test_the_generated_pages_are_what_the_script_writes() -> None:
    written = make_reference.render_reference()
    assert [name for name, text in written.items() if read(name) != text] == [], "run scripts/make_reference.py"


def test_the_example_shows_every_setting_at_its_default() -> None:
    assert read("node.example.toml") == render_example(), "run `make example`"


def test_every_route_is_in_the_reference() -> None:
    text = read("docs/reference/api.md")
    api: Any = build_api(Any, Any, key="", body_bytes_max=0, metrics=Any)  # type: ignore[arg-type]  # no request is made
    operator = build_operator(Any, Any, Any, pins=Any, stop=list)  # type: ignore[arg-type]
    routes: list[Any] = [*api._app.routes, *operator.routes]
    for route in routes:
        for method in route.methods - {"HEAD"}:
            assert f"| `{method} {route.path}` |" in text


def test_every_metric_is_in_the_reference_once() -> None:
    text = read("docs/reference/metrics.md")
    listed = [
        (table.prefix + each.name, each) for table in (NODE_METRICS, BOOTSTRAP_METRICS) for each in table.families
    ]
    assert len(dict(listed)) == len(listed)
    for name, family in listed:
        assert text.count(f"| `{name}` |") == 1
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name


def test_every_field_of_a_request_is_in_the_reference() -> None:
    text = read("docs/reference/api.md").split("\n## Fields\n")[1].split("\n## ")[0]
    served = {*bodies.ChatBody.model_fields, *bodies.CompletionBody.model_fields}
    for name in [*served, *bodies.StreamOptions.model_fields]:
        assert re.search(rf"\b{name}\b", text), name


def test_every_field_that_is_refused_or_ignored_is_in_the_reference() -> None:
    text = read("docs/reference/api.md")
    for name, known in UNSUPPORTED.items():
        neutral = ", ".join(f"`{json.dumps(value)}`" for value in known.neutral)
        assert f"| `{name}` | {neutral} | {known.advice}".strip() in text, name
    for name, reason in HARMLESS.items():
        assert f"| `{name}` | {reason} |" in text


def test_every_refusal_is_in_the_reference() -> None:
    text = read("docs/reference/api.md")
    for status, code in [*openai.HTTP_STATUS.values(), *CODES.items()]:
        assert f"| {status} | `{code}` |" in text


def test_every_exit_code_is_in_the_reference() -> None:
    classes: list[type[NodeError]] = [NodeError, *NodeError.__subclasses__()]
    codes = {cls.exit_code for cls in classes}
    documented = re.findall(r"^\| (\d+) \|", read("docs/reference/exit-codes.md"), re.MULTILINE)
    assert [int(code) for code in documented] == sorted(
        {0, PROBLEMS_FOUND, CommandRunningError.exit_code, cli.INTERRUPTED, *codes}
    )


def test_every_field_of_what_is_stored_and_printed_is_in_the_reference(tmp_path: Path) -> None:
    text = read("docs/reference/formats.md")
    job = job_of("0x00", received_ns=0)
    stored = [spec.name for cls in (AdapterManifest, Row) for spec in fields(cls)]
    for name in [*stored, *job_to_json(job), *stopped_status(Home(tmp_path))]:
        assert re.search(rf"[`\"]{name}[`\"]", text), name


def test_every_schema_is_in_the_reference() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "node" / "openledger_node" / "cli").glob("*.py"))
    printed = {f"openledger.{noun}/1" for noun in re.findall(r"emit_json\(\s*\"(\w+)\"", sources)}
    assert len(printed) > 8
    for schema in [*printed, ADAPTER_SCHEMA, BASE_SCHEMA]:
        assert f"`{schema}`" in read("docs/reference/formats.md"), schema


def test_what_works_has_its_commands_and_routes_and_what_is_missing_has_none() -> None:
    commands_here = {each.path.removeprefix("openledger-node ") for each in COMMAND.walk()}
    api: Any = build_api(Any, Any, key="", body_bytes_max=0, metrics=Any)  # type: ignore[arg-type]  # no request is made
    routes_here = {f"{method} {route.path}" for route in api._app.routes for method in route.methods}
    rows = tomllib.loads(make_reference.WHAT_WORKS.read_text(encoding="utf-8"))
    assert all(row.get("commands") or row.get("routes") for row in rows["works"])
    for row in rows["works"]:
        assert {*row.get("commands", ())} <= commands_here, row
        assert {*row.get("routes", ())} <= routes_here, row
    for row in rows["not_yet"]:
        assert not commands_here & {*row.get("commands", ())}, row
        assert not routes_here & {*row.get("routes", ())}, row


def test_every_page_is_on_the_map() -> None:
    text = read("docs/index.md")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "index.md" and page.parent.name != "decisions":
            assert f"({page.relative_to(ROOT / 'docs')})" in text


# ---- what the docs name exists


def test_every_command_on_a_page_can_be_typed() -> None:
    wrong = []
    for page in PAGES:
        for words in commands(page, "openledger-node"):
            typed = read_line(words)
            known = {*options_of(typed.command), *options_of(COMMAND), *PROGRAM_OPTIONS}
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            if (typed.command.commands and typed.arguments) or not options <= known:
                wrong.append((page.name, words))
    assert wrong == []


def test_every_make_target_on_a_page_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    called = [(page.name, words[0]) for page in PAGES for words in commands(page, "make")]
    assert [each for each in called if each[1] not in targets] == []


def test_every_link_on_a_page_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if "://" not in target and not (file.exists() and (not anchor or anchor in anchors(file))):
                broken.append((page.name, target))
    assert broken == []


def test_every_setting_that_a_page_names_is_one() -> None:
    known = {f"[{table}] {spec.name}" for table, cls in TABLES.items() for spec in fields(cls)} | {"[table] key"}
    named = [(page.name, name) for page in PAGES for name in re.findall(SETTING, page.read_text(encoding="utf-8"))]
    assert [each for each in named if each[1] not in known] == []


def test_the_examples_of_a_first_question_draw_nothing() -> None:
    """The demo base knows the right answers, but at another temperature it draws others half the time."""
    for page in ("README.md", "docs/how-to/use-an-openai-client.md"):
        blocks = re.findall(r"```[a-z]*\n(.*?)```", read(page), re.DOTALL)
        asking = [each for each in blocks if FIRST_QUESTION in each and "completions" in each]
        assert asking, page
        assert all(re.search(r'temperature"?[=:] ?0\b', each) for each in asking), page


def test_a_decision_says_why_what_and_what_not() -> None:
    for decision in DECISIONS:
        text = decision.read_text(encoding="utf-8")
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", decision.name)
        headings = re.findall(r"^## (.*)", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Rejected"], decision.name
        assert text.startswith(f"# {int(decision.name[:4])}. ")


def test_every_number_of_a_decision_has_one_page_or_one_paragraph() -> None:
    pages = [int(file.name[:4]) for file in DECISIONS]
    paragraphs = re.findall(r"^### (\d+)\. ", ROADS_NOT_TAKEN.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted([*pages, *map(int, paragraphs)]) == list(range(1, max(pages) + 1))


def test_every_fragment_of_the_changelog_is_one_that_towncrier_reads() -> None:
    names = [file.name for file in (ROOT / "changes").iterdir() if not file.name.startswith(".")]
    assert [name for name in names if not re.fullmatch(r"\d+\.(added|changed|fixed)(\.\d+)?\.md", name)] == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    folders = [ROOT / folder for folder in ("protocol", "node", "tests", "docs", "scripts", "changes", "docker")]
    below = [file for folder in folders for file in folder.rglob("*") if "__pycache__" not in file.parts]
    files = [file for file in (*ROOT.iterdir(), *below) if file.is_file() and file.name != ".git"]
    assert len(files) > 100
    assert [file for file in files if any(word in file.read_bytes() for word in FORBIDDEN)] == []


def options_of(command: Command) -> list[str]:
    return [name for option in command.options for name in (*option.names, option.off) if name]


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The words behind `program` wherever code on a page calls it, up to the end of the line or command."""
    start = r"(?:^\s*|[;&|]\s*|\b[A-Z_]+=\S+ )(?:\S*/)?"
    for code in code_of(page.read_text(encoding="utf-8")):
        for call in re.findall(rf"{start}{program} ([^#;&|\n]+)", code):
            yield call.split()


def code_of(text: str) -> Iterator[str]:
    """Fenced blocks line by line, those marked as text (what a program prints) left out, and code in sentences."""
    for number, part in enumerate(text.split("```")):
        if number % 2 == 0:
            yield from re.findall(r"`([^`\n]+)`", part)
        elif not part.startswith("text\n"):
            yield from part.splitlines()


def anchors(file: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_dependency_is_listed_with_its_licence() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    page = (ROOT / "docs" / "reference" / "licences.md").read_text()
    assert [name for name in (re.split(r"[\[<>=]", line)[0] for line in asked) if f"| {name} |" not in page] == []
