"""Settings: which source wins, what is refused, and node.toml changed line by line."""

import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from openledger_node.config import TABLES, Config, load_config
from openledger_node.errors import ConfigError
from openledger_node.settings_file import write_settings

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "OPENLEDGER_INFERENCE_THREADS"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def load(file: Path, toml: str = "", *, environment: dict[str, str] | None = None, **flags: Any) -> Config:
    file.write_text(toml, errors="surrogateescape")
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(file, environment=environment or {}, flags=given)[0]


@pytest.mark.parametrize(
    ("flag", "variable", "toml", "value", "source"),
    [
        (5, "4", "threads = 3", 5, "flag"),
        (None, "4", "threads = 3", 4, VARIABLE),
        (None, None, "threads = 3", 3, "node.toml"),
        (None, None, "", 0, "default"),
        (0, "4", "threads = 3", 0, "flag"),
    ],
)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    file: Path, flag: int | None, variable: str | None, toml: str, value: int, source: str
) -> None:
    file.write_text(f"[inference]\n{toml}\n")
    environment = {VARIABLE: variable} if variable else {}
    config, origins = load_config(file, environment=environment, flags={"inference.threads": flag})
    assert config.inference.threads == value
    assert {origin.key: origin.source for origin in origins}["inference.threads"] == source


def test_without_a_file_each_setting_says_its_key_default_and_origin_once(file: Path) -> None:
    config, origins = load_config(file, environment={})
    assert config == Config()
    assert {origin.source for origin in origins} == {"default"}
    told = {origin.key: origin.value for origin in origins}
    settings = asdict(config)
    assert told == {f"{table}.{key}": value for table in settings for key, value in settings[table].items()}
    assert len(told) == len(origins)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[inference]\nbse = 'x'", "unknown key inference.bse: did you mean inference.base?"),
        ("[inferense]\nbase = 'x'", "unknown key inferense: did you mean inference?"),
        ("[inference]\nport = 1", "unknown key inference.port"),
        ("[zzzzzzzz]", "unknown key zzzzzzzz: there are node, limits, api, inference"),
        ("base = 'x'", "unknown key base"),
        ("inference = 'x'", "inference must be a table: write [inference]"),
        ("[inference", "is not TOML"),
        ("[inference]\nbase = '\udcff'", "is not TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_and_the_nearest_key_is_named(file: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        load(file, toml)
    assert str(file) in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        load_config(file, environment={})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("threads = 2.0", "must be an integer, not 2.0"),
        ("threads = true", "must be an integer, not True"),
        ("stall_timeout_s = true", "must be a number, not True"),
        ("stall_timeout_s = '5'", "must be a number, not '5'"),
        ("base = 5", "must be a text, not 5"),
        ("threads = -1", "is -1: the least is 0"),
        ("threads = 513", "is 513: the most is 512"),
        ("context_max = 15", "the least is 16, or 0"),
        ("stall_timeout_s = inf", "the most is 3600"),
        ("stall_timeout_s = nan", "nan"),  # neither under the least nor over the most
        ("backend = 'tourch_lora'", "is 'tourch_lora': choose one of auto, torch_lora, vllm, llamacpp, fake"),
        ("device = 'CPU'", "choose one of auto, cpu, cuda, mps"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused_by_its_key(file: Path, line: str, message: str) -> None:
    key = line.split(" ")[0]
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        load(file, f"[inference]\n{line}\n")
    assert f"inference.{key} (node.toml)" in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("OPENLEDGER_INFERENCE_THREADS", "two", "must be an integer, not 'two'"),
        ("OPENLEDGER_INFERENCE_THREADS", "", "must be an integer"),
        ("OPENLEDGER_INFERENCE_THREADS", "513", "the most is 512"),
        ("OPENLEDGER_NODE_DRAIN_GRACE_S", "soon", "must be a number"),
        ("OPENLEDGER_NODE_DRAIN_GRACE_S", "nan", "nan"),
        ("OPENLEDGER_INFERENCE_BACKEND", "vlm", "choose one of"),
        ("OPENLEDGER_API_HOST", "0.0.0.0", "loopback"),
    ],
)
def test_the_environment_is_held_to_the_same_bounds(file: Path, variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(file, environment={variable: text})


def test_an_integer_is_taken_where_a_number_is_asked_for(file: Path) -> None:
    config = load(file, "[node]\ndrain_grace_s = 5\n")
    assert config.node.drain_grace_s == 5.0
    assert type(config.node.drain_grace_s) is float


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_api_listens_on_loopback(file: Path, host: str) -> None:
    assert load(file, api__host=host).api.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1.example.org", ""])
def test_any_other_address_is_refused_with_what_to_do_instead(file: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"reverse proxy .* SSH tunnel"):
        load(file, f"[api]\nhost = '{host}'\n")


def test_a_setting_is_never_a_secret() -> None:
    names = {f"{table}.{spec.name}" for table, cls in TABLES.items() for spec in fields(cls)}
    assert not [name for name in names if re.search(r"secret|password|token$|_key$|mnemonic", name)]


def test_the_example_without_its_comment_signs_is_the_defaults(file: Path) -> None:
    bare = re.sub(r"^# (\w+ = )", r"\1", (ROOT / "node.example.toml").read_text(), flags=re.MULTILINE)
    file.write_text(bare)
    config, origins = load_config(file, environment={})
    assert config == Config()
    assert {origin.source for origin in origins} == {"node.toml"}


def test_a_mistyped_variable_is_refused_naming_the_nearest(file: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean OPENLEDGER_API_PORT"):
        load_config(file, environment={"OPENLEDGER_API_PROT": "1", "OPENLEDGER_HOME": "/somewhere"})


# ---- changing node.toml line by line


WRITTEN = """\
# my node
[market]   # what I ask
price_in_wei = 5 # cheap # "really"
# price_out_wei = 7

[payer]
day_max_wei = 3
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = tmp_path / "node.toml"
    made.write_text(WRITTEN)
    return made


def test_a_value_changes_and_every_comment_stays(written: Path) -> None:
    write_settings(written, {"market.price_in_wei": 9, "market.price_out_wei": 11, "limits.hours": "22:00-07:00"})
    assert (
        written.read_text()
        == WRITTEN.replace(
            'price_in_wei = 5 # cheap # "really"\n# price_out_wei = 7\n',
            'price_in_wei = 9  # cheap # "really"\n# price_out_wei = 7\nprice_out_wei = 11\n',
        )
        + '\n[limits]\nhours = "22:00-07:00"\n'
    )


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    write_settings(file, {"node.serve": False, "inference.base": 'a "quoted" \\ name'})
    assert tomllib.loads(file.read_text()) == {"node": {"serve": False}, "inference": {"base": 'a "quoted" \\ name'}}
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("market.price", 5, "there is no setting market.price"),
        ("money.price_in_wei", 5, "there is no setting"),
        ("market.price_in_wei", "5", "must be an integer"),
        ("market.price_in_wei", -1, "the least is 0"),
    ],
)
def test_a_wrong_setting_changes_nothing(written: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_settings(written, {"payer.day_max_wei": 4, name: value})
    assert written.read_text() == WRITTEN


@pytest.mark.parametrize(
    "written",
    ["market = {price_in_wei = 5}\n", '[market]\n"price_in_wei" = 5\n'],
    ids=["an inline table", "a quoted key"],
)
def test_a_file_written_another_way_is_left_as_it_is_and_says_what_to_write(tmp_path: Path, written: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(written)
    with pytest.raises(ConfigError, match=r"write \[market\] price_in_wei = 9 into it yourself"):
        write_settings(file, {"market.price_in_wei": 9})
    assert file.read_text() == written
