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
from openledger_node.errors import ConfigError, ModelError, NodeError
from openledger_node.factory.order import gather, order_from
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.settings_file import write_settings
from openledger_protocol.errors import AdapterRefusedError


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
