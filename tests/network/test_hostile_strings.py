"""Whatever peers, adapters, errors and models are called, a terminal shows it and does not obey it."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hostile_strings import HOSTILE, acting
from support.peft_folders import write_adapter
from support.poisoned import poisoned_socket
from support.processes.nodes import Node, command_json, running_node

from openledger_node.cli.main import main
from openledger_node.cli.render import plain, show_lines, show_table
from openledger_node.home import Home, claim_home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.text import SafeFormatter, on_one_line, shown

EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto"}
VERBS = [
    *(
        "status",
        "jobs",
        "earnings",
        "price",
        "limits",
        "connect",
        "logs",
        "peers list",
        "adapters list",
        "models list",
    ),
    *(
        "channels list",
        "rewards show",
        "stake show",
        "attribution show RECEIPT",
        "attribution verify RECEIPT",
        "attribution show RECEIPT --follow",
    ),
    *("adapters pull harbour", "adapters pull nobody@", "attribution show nothing", "pause", "resume"),
    *("limits --idle-only", "price 1 --yes", "open"),
]
ALL = "".join(text for name, text in HOSTILE.items() if name != "half a character")


def test_there_are_twenty_and_each_does_something_or_is_markup() -> None:
    assert len(HOSTILE) >= 20
    harmless = {"markup", "a closing tag", "an unknown tag", "an emoji's name", "a format", "two lines"}
    assert {name for name, text in HOSTILE.items() if not acting(text)} == harmless


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_shown_acts_on_nothing_and_can_be_told_from_what_is_safe(name: str) -> None:
    text = HOSTILE[name]
    assert not acting(shown(text))
    assert "\n" not in on_one_line(text)
    assert not acting(plain(text))
    assert (
        name in ("markup", "a closing tag", "an unknown tag", "an emoji's name", "a format")
        or shown(text) != text
        or on_one_line(text) != text
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_tables_and_lists_show_it_on_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = HOSTILE[name]
    show_table(["who"], [[text]], empty="")
    show_lines({"who": text})
    output = capsys.readouterr().out
    assert not acting(output)
    assert len(output.splitlines()) == 3
    if name not in ("half a character", "two lines"):
        assert shown(text) in output, "markup is shown as it is written"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_of_the_log_stays_one(name: str) -> None:
    text = HOSTILE[name]
    formatter = SafeFormatter("%(asctime)s %(levelname)s %(message)s")
    try:
        raise ValueError(text)
    except ValueError:
        raised = sys.exc_info()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "peer %s said so", (text,), None)
    assert not acting(line := formatter.format(record))
    assert "\n" not in line
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), raised)
    assert not acting(formatter.format(record))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has sold an answer of an adapter."""
    root: Path = tmp_path_factory.mktemp("hostile")
    home = Home(root / "home")
    home.root.mkdir(mode=0o700)
    add_adapter(home, write_adapter(root / "harbour"), FAKE_BASE, name="harbour")
    with running_node(home, "--backend", "fake", **EMBEDDED) as running:
        yield running


@pytest.fixture(scope="module")
def receipt(real: Node) -> str:
    found: str = command_json(real.home, "chat", "hello", "--as-guest", "--max-tokens", "8", **EMBEDDED)["digest"]
    return found


@pytest.mark.process
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_verb_lets_a_stranger_act_on_the_terminal(
    real: Node,
    receipt: str,
    home: Home,
    verb: str,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "auto")
    words = verb.replace("RECEIPT", receipt).split()
    monkeypatch.setattr(sys, "argv", ["openledger-node", *words, *(["--json"] if as_json else [])])
    with claim_home(home), poisoned_socket(real.home.socket, home.socket, ALL), pytest.raises(SystemExit):
        main()
    output = capsys.readouterr()
    for text in (output.out, output.err):
        assert not acting(text), (verb, acting(text))
        assert "Traceback" not in text
    if "owned" in output.out + output.err and not as_json:
        written = output.out + output.err
        assert "[bold" in written or "[link=" in written, "markup is shown, not obeyed; a table may fold it"
    assert output.out or output.err
