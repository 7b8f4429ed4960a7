"""`config`: values in the units of people, and changes that keep the rest of node.toml."""

import pytest
from node.cli.verbs import Run

from openledger_node.home import Home, claim_home

MINE = "# mine\n[api]\nport = 8421  # not the default\n\n[market]\nprice_in_wei = 5\n"


def test_a_setting_is_set_read_and_unset_and_comments_stay(run: Run, home: Home) -> None:
    home.config_file.write_text(MINE)
    ran = run("config", "set", "api.port", "8422")
    assert (ran.status, ran.stdout) == (0, "")
    assert "api.port  8421 → 8422" in ran.stderr
    assert home.config_file.read_text() == MINE.replace("8421", "8422")
    assert run("config", "get", "api.port").stdout == "8422\n"
    ran = run("config", "unset", "api.port")
    assert "8422 → 8420" in ran.stderr
    assert "from default" in ran.stderr
    assert home.config_file.read_text() == "# mine\n[api]\n\n[market]\nprice_in_wei = 5\n"
    assert "unchanged" in run("config", "unset", "api.port").stderr


@pytest.mark.parametrize(
    ("key", "typed", "written"),
    [
        ("inference.adapter_cache_bytes", "2GB", "adapter_cache_bytes = 2000000000"),
        ("market.price_in_wei", "0.5 OPEN", "price_in_wei = 500000000000000000"),
        ("market.price_in_wei", "7", "price_in_wei = 7"),
        ("limits.pause_when_busy", "true", "pause_when_busy = true"),
        ("inference.base", 'a "b"', r'base = "a \"b\""'),
    ],
)
def test_values_are_typed_as_people_write_them(run: Run, home: Home, key: str, typed: str, written: str) -> None:
    assert run("config", "set", key, typed).status == 0
    assert written in home.config_file.read_text()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("api.prot", "1", "did you mean `api.port`?"),
        ("api.port", "many", "must be an integer"),
        ("inference.device", "abacus", "choose one of"),
        ("wallet.password", "hunter2", "holds no secrets"),
    ],
)
def test_what_node_toml_does_not_take_is_refused(run: Run, home: Home, key: str, value: str, said: str) -> None:
    ran = run("config", "set", key, value)
    assert ran.status == 2
    assert said in ran.stderr
    assert not home.config_file.exists()


def test_a_change_says_when_it_takes_effect(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "keeps the former value" not in run("config", "set", "api.port", "8423").stderr
    with claim_home(home):
        said = run("config", "set", "market.load_surcharge_percent", "7").stderr
        found = run("config", "set", "api.port", "8424", "--json").json
    assert "keeps the former value until it is started again; `openledger-node price set` changes" in said
    assert (found["before"], found["value"], found["origin"], found["needs_restart"]) == (
        8423, 8424, "node.toml", True,
    )  # fmt: skip
    monkeypatch.setenv("OPENLEDGER_API_PORT", "9000")
    assert "OPENLEDGER_API_PORT is set and overrides node.toml" in run("config", "set", "api.port", "8424").stderr


def test_the_list_is_for_people_and_names_the_file_only_if_it_is_there(run: Run, home: Home) -> None:
    shown = run("config", "show").stdout
    assert "there is no node.toml yet" in shown
    assert str(home.config_file) not in shown
    home.config_file.write_text(MINE)
    shown = run("config", "show").stdout
    assert f"node.toml is {home.config_file}" in shown
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert lines["inference.stall_timeout_s"].split()[1:] == ["120", "s", "default"]
    assert lines["market.price_out_wei"].split()[1:] == ["0.004", "OPEN", "default"]
    assert lines["api.port"].split()[1:] == ["8421", "node.toml"]
    assert lines["node.serve"].split()[1:] == ["true", "default"]


def test_a_byte_order_mark_before_the_settings_is_no_setting(run: Run, home: Home) -> None:
    home.config_file.write_bytes(b"\xef\xbb\xbf[api]\nport = 4\n")
    assert run("config", "get", "api.port").stdout == "4\n"
    run("config", "set", "api.port", "5")
    assert run("config", "get", "api.port").stdout == "5\n"
