"""Whatever peers, adapters, errors and models are called, a terminal shows it and does not obey it."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from network.poisoned import poisoned_socket
from support.hostile_strings import HOSTILE, acting
from support.peft_folders import write_adapter
from support.processes.nodes import Node, command_json, running_node

from openledger_node.cli.main import main
from openledger_node.cli.render import plain, show_lines, show_table
from openledger_node.home import Home, claim_home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.text import SafeFormatter, on_one_line, shown

EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto"}
COMMANDS = (
    *("status", "jobs", "connect", "logs", "peers list", "adapters list", "models list", "channels list"),
    *("rewards show", "attribution show RECEIPT --follow", "adapters pull harbour", "attribution verify RECEIPT"),
    *("attribution show nothing", "status --json", "attribution show RECEIPT --json"),
)
ALL = "".join(text for name, text in HOSTILE.items() if name != "half a character")


MARKUP = ("markup", "a closing tag", "an unknown tag", "an emoji's name", "a format")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_acts_on_no_line_table_or_log(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = HOSTILE[name]
    assert not acting(shown(text))
    assert "\n" not in on_one_line(text)
    assert not acting(plain(text))
    assert name in MARKUP or shown(text) != text or on_one_line(text) != text

    show_table(["who"], [[text]], empty="")
    show_lines({"who": text})
    output = capsys.readouterr().out
    assert not acting(output)
    assert len(output.splitlines()) == 3
    if name not in ("half a character", "two lines"):
        assert shown(text) in output, "markup is shown as it is written"

    formatter = SafeFormatter("%(asctime)s %(levelname)s %(message)s")
    line = formatter.format(logging.LogRecord("x", logging.WARNING, "", 0, "peer %s said so", (text,), None))
    assert not acting(line)
    assert "\n" not in line
    try:
        raise ValueError(text)
    except ValueError:
        raised = sys.exc_info()
    assert not acting(formatter.format(logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), raised)))


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


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_lets_a_stranger_act_on_the_terminal(
    real: Node,
    receipt: str,
    home: Home,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "auto")
    monkeypatch.setattr(sys, "argv", ["openledger-node", *command.replace("RECEIPT", receipt).split()])
    with claim_home(home), poisoned_socket(real.home.socket, home.socket, ALL), pytest.raises(SystemExit):
        main()
    output = capsys.readouterr()
    written = output.out + output.err
    assert written
    assert not acting(written)
    assert "Traceback" not in written
    if "owned" in written and "--json" not in command:
        assert "[bold" in written or "[link=" in written, "markup is shown, not obeyed; a table may fold it"
