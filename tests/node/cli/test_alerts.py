"""`alerts`: the receivers and events, a test alert, and the secrets."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from node.cli.verbs import Run
from node.cli.web_server import Handler, served

from openledger_node.home import Home
from openledger_node.operator.alerts.journal import open_journal
from openledger_node.operator.alerts.service import new_alert
from openledger_node.upkeep_tables import ALERT_EVENTS


class Inbox(Handler):
    """A receiver on loopback; /refuse refuses, and /elsewhere redirects to a place that takes everything."""

    got: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        self.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, self.body()))
        self.answer(status={"/refuse": 403, "/elsewhere": 307}.get(self.path, 200), Location="/taken")


@pytest.fixture
def inbox() -> Iterator[str]:
    """The URL of a receiver."""
    Inbox.got = []
    with served(Inbox) as port:
        yield f"http://127.0.0.1:{port}"


def test_without_a_receiver_show_says_how_to_set_one_and_a_test_fails(run: Run) -> None:
    ran = run("alerts", "show")
    assert (ran.status, ran.stdout, "config set alerts.ntfy_url" in ran.stderr) == (0, "", True)
    ran = run("alerts", "test")
    assert (ran.status, "no receiver is set" in ran.stderr) == (3, True)


def test_a_test_reaches_both_receivers_over_the_network(run: Run, inbox: str) -> None:
    run("config", "set", "alerts.webhook_url", f"{inbox}/hook")
    run("config", "set", "alerts.ntfy_url", f"{inbox}/topic")
    ran = run("alerts", "test", "--json")
    assert ran.status == 0
    assert [(each["name"], each["error"]) for each in ran.json["receivers"]] == [("webhook", None), ("ntfy", None)]
    (hook_path, hook_headers, hook_body), (topic_path, topic_headers, topic_body) = Inbox.got
    assert (hook_path, topic_path) == ("/hook", "/topic")
    assert json.loads(hook_body)["data"]["phase"] == "test"
    assert hook_headers["webhook-signature"].startswith("v1,")
    assert topic_headers["title"] == "openledger-node: test"
    assert topic_body == b"This is a test. Alerts of this node reach you here."


def test_a_test_that_fails_says_why_and_follows_no_redirect(run: Run, inbox: str) -> None:
    for path, words in (("/refuse", "status 403"), ("/elsewhere", "redirects")):
        run("config", "set", "alerts.webhook_url", f"{inbox}{path}")
        ran = run("alerts", "test")
        assert (ran.status, words in ran.stdout) == (6, True)
        assert path not in ran.stdout + ran.stderr, "the URL is a secret"
    assert [got[0] for got in Inbox.got] == ["/refuse", "/elsewhere"]


def test_show_has_events_with_their_state_and_what_was_sent(run: Run, home: Home) -> None:
    run("config", "set", "alerts.webhook_url", "https://hooks.example/secret-path")
    run("config", "set", "alerts.muted", "sellers")
    journal = open_journal(home)
    alert = new_alert("engine", "begins", now_s=1_700_000_000)
    for each in (alert, new_alert("disk", "begins", now_s=1_700_000_100)):
        journal.put("webhook", each)
    journal.open_causes = {"engine": 1_700_000_000, "claims 2": 1_700_000_000}
    journal.note_sent("webhook", alert, now_s=1_700_000_005)
    journal.save()
    found = run("alerts", "show", "--json").json
    assert found["receivers"] == [{"name": "webhook", "host": "hooks.example", "waiting": 1}]
    states = {each["event"]: (each["muted"], each["since"]) for each in found["events"]}
    assert tuple(states) == ALERT_EVENTS
    assert states["engine"] == states["claims"] == (False, "2023-11-14T22:13:20Z")
    assert states["sellers"] == (True, None)
    assert [(each["event"], each["sent"]) for each in found["sent"]] == [("engine", "2023-11-14T22:13:25Z")]
    shown = run("alerts", "show").stdout
    assert "hooks.example, 1 waiting" in shown
    assert "secret-path" not in shown
    assert "open since 2023-11-14T22:13:20Z" in shown


def test_the_secret_is_drawn_once_and_anew_when_asked(run: Run, home: Home) -> None:
    first = run("alerts", "secret").stdout
    assert first.startswith("whsec_")
    assert run("alerts", "secret").stdout == first
    assert run("alerts", "secret", "--new").stdout != first
    file = home.keys / "alerts-webhook.secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.strip() not in run("config", "show").stdout


def test_a_token_comes_from_a_file_and_wrong_words_exit_2(run: Run, home: Home, tmp_path: Path) -> None:
    assert run("alerts", "token").status == 2
    file = tmp_path / "token"
    assert run("alerts", "token", str(file)).status == 3
    file.write_text("tk_example\n")
    assert run("alerts", "token", str(file), "--remove").status == 2
    assert run("alerts", "token", str(file)).status == 0
    assert (home.keys / "alerts-ntfy.token").read_text() == "tk_example\n"
    assert run("alerts", "token", "--remove").status == 0
    assert not (home.keys / "alerts-ntfy.token").exists()
    file.write_text("two words\n")
    assert run("alerts", "token", str(file)).status == 3
