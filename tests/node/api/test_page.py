"""The page's files: small, whole, and served with headers that let nothing else in."""

import re
from pathlib import Path

from support.apis import open_api
from support.pages import is_command
from support.processes.nodes import ROOT

from openledger_node.api.page import HEADERS, POLICY, read_files
from openledger_node.cli.command_tree import load_tree

WEB = ROOT / "node" / "openledger_node" / "api" / "web"

BYTES_MAX = 150_000
"""Of any screen with all that it imports at its start, and of all screens together as they travel."""
IMPORT = r'^import .* from "(.+)";'
LATER = r'import\("(.+)"\)'

TEXT = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|//.*|/\*.*?\*/""")
PATTERN = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+/[a-z]*")
BEFORE_PATTERN = re.compile(r"(?:^|[(,=:\[!&|?{};+*%~^<>-]|\b(?:return|typeof|case|of|in))\s*$")

SOURCES = sorted(file for file in WEB.rglob("*") if file.is_file())


def test_the_whole_page_is_small() -> None:
    found = read_files()
    shell = {path for path in found if not path.endswith(".js")} | loaded("app.js")
    sizes = {
        screen.name: sum(len(found[path].content) for path in shell | loaded(f"screens/{screen.name}"))
        for screen in (WEB / "screens").iterdir()
    }
    assert {name: size for name, size in sizes.items() if size > BYTES_MAX} == {}
    assert sum(len(file.zipped) for file in found.values()) <= BYTES_MAX


def test_every_script_is_loaded_by_a_screen_or_the_frame() -> None:
    roots = ["app.js", *(f"screens/{screen.name}" for screen in (WEB / "screens").iterdir())]
    scripts = {f"/{file.relative_to(WEB).as_posix()}" for file in SOURCES if file.suffix == ".js"}
    assert set().union(*(loaded(root, f"{IMPORT}|{LATER}") for root in roots)) == scripts


def loaded(script: str, imports: str = IMPORT) -> set[str]:
    """The paths of a script and of all that it imports at its start."""
    waiting, found = [WEB / script], set[Path]()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        names = (next(filter(None, each.groups())) for each in re.finditer(imports, file.read_text(), re.M))
        waiting += [(file.parent / name).resolve() for name in names]
    return {f"/{file.relative_to(WEB).as_posix()}" for file in found}


def test_a_line_in_a_script_is_a_command_that_exists() -> None:
    groups = "|".join(command.name for command in load_tree().commands if command.commands)
    scripts = "\n".join(file.read_text() for file in SOURCES if file.suffix == ".js")
    written = re.findall(rf'["`](?:openledger-node )?((?:{groups}) [a-z][^"`$]*)', scripts)
    written += re.findall(r'cliLine\(["`]([^"`$]+)', scripts)
    sentences = {"peers offer"}  # begins as a command does
    lines = {line.rstrip() for line in written} - sentences
    assert len(lines) > 80
    assert [line for line in sorted(lines) if not is_command(f"openledger-node {line}")] == []


async def test_files_come_compressed_or_plain_with_the_headers_that_keep_others_out() -> None:
    assert POLICY == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    async with open_api() as api, api.client() as client:
        found = read_files()
        paths = {f"/{file.relative_to(WEB).as_posix()}" for file in SOURCES}
        assert {path if path != "/" else "/index.html" for path in found} == paths
        for path, file in found.items():
            response = await client.get(path)
            assert response.status_code == 200
            assert {name: response.headers[name] for name in HEADERS} == dict(HEADERS)
            assert response.headers["Content-Type"] == file.type
            again = await client.get(path, headers={"If-None-Match": response.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b"")
        for encoding in ("gzip", "identity"):
            response = await client.get("/app.css", headers={"Accept-Encoding": encoding})
            assert response.headers.get("Content-Encoding", "identity") == encoding
            assert response.content == (WEB / "app.css").read_bytes()
        for path in ("/web/index.html", "/../guard.py", "/%2e%2e/guard.py", "/lib/", "/app.py"):
            assert (await client.get(path)).status_code == 401, "nothing beside the page is served"


def test_a_script_is_served_line_for_line_without_its_comments() -> None:
    source = (WEB / "app.js").read_text().split("\n")
    served = read_files()["/app.js"].content.decode().split("\n")
    left = [(line.strip(), other) for line, other in zip(source, served, strict=True) if line.strip() != other]
    assert left
    assert all(line.startswith("//") and other == "" for line, other in left)


def test_the_sources_are_as_the_policy_and_the_taking_of_comments_need_them() -> None:
    """Nothing from outside, no written HTML or style, and no text that would lose the blanks between its lines."""
    forbidden = r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\("
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        assert re.findall(forbidden + r"|new Function", text) == [], file
        assert file.suffix == ".css" or re.findall(r"\sstyle=|style:", text) == [], f"{file}: use style.setProperty"
        if file.suffix == ".js":
            assert [line for line in text.split("\n") if goes_on(line)] == [], (
                f"{file}: the next line goes on with it"
            )
    torn = (
        "x = `a",
        "x = `a ${y(`b",
        "x = `${{a: `}`}.a",
        "/* a",
        "x = 'a\\",
        'x = "a',
        "x = /[`]/ + `a",
        "a / b + `c",
    )
    assert [line for line in torn if not goes_on(line)] == []
    assert not goes_on("const a = `b ${c({ d: `e` })}`, f = /[`'\"/]/g, g = a / b; // it's `")


def goes_on(line: str) -> bool:
    """Return True if a text, template, pattern or comment of a line may end in a later one."""
    opened, at = list[str](), 0  # "`" for a template, "{" for each brace that is open in one
    while at < len(line):
        if opened and opened[-1] == "`":
            if line.startswith("${", at):
                opened.append("{")
            elif line[at] == "`":
                opened.pop()
            at += 2 if line[at] == "\\" or line.startswith("${", at) else 1
        elif found := TEXT.match(line, at):
            at = found.end()
        elif line[at] == "/" and BEFORE_PATTERN.search(line[:at]):
            pattern = PATTERN.match(line, at)
            if pattern is None:
                return True
            at = pattern.end()
        elif line[at] in "\"'" or line.startswith("/*", at):
            return True
        else:
            if line[at] == "`" or (line[at] == "{" and opened):
                opened.append(line[at])
            elif line[at] == "}" and opened:
                opened.pop()
            at += 1
    return bool(opened) or line.endswith("\\")
