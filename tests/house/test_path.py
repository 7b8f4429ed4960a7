"""The path from the scheduler to the kernel: short enough to read, the real one, and each idea of it with a picture.

Its files are those in the table of docs/explanation/engine.md, which is the only list of them.
"""

import ast
import io
import re
import tokenize

from support.processes.nodes import ROOT

PAGE = (ROOT / "docs" / "explanation" / "engine.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "node" / "openledger_node"
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))
PATH = re.findall(r"^\| `([\w/]+\.py)` \|", SECTIONS["The path"], re.MULTILINE)
IDEAS = list(SECTIONS)[list(SECTIONS).index("The path") + 1 : list(SECTIONS).index("Families")]

PATH_LINES_MAX = 2_000
BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines with code on them: no blank line, comment or docstring counts."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in BLANK]
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - texts)


def lines_of(file: str) -> int:
    return code_lines((PACKAGE / file).read_text(encoding="utf-8"))


def test_the_path_is_short_enough_to_read() -> None:
    assert len(PATH) > 10
    assert "engine/scheduler.py" in PATH
    counted = {file: lines_of(file) for file in PATH}
    assert sum(counted.values()) <= PATH_LINES_MAX, f"the walk says so; shorten one of {counted}"


def test_each_idea_of_the_walk_has_one_picture() -> None:
    assert len(IDEAS) >= 9
    found = {idea: re.findall(r"!\[[^\]]+\]\(\.\./pictures/engine-\w+\.svg\)", SECTIONS[idea]) for idea in IDEAS}
    assert {idea: pictures for idea, pictures in found.items() if len(pictures) != 1} == {}
