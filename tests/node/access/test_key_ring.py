"""Named keys: the file and its refusals."""

import json
from pathlib import Path
from typing import cast

import pytest

from openledger_node.access import keys as keys_module
from openledger_node.access.keys import ApiKeyRing, digest_of
from openledger_node.api.callers import NamedCallers
from openledger_node.errors import ConfigError, InputError
from openledger_node.home import Home


@pytest.fixture
def ring(tmp_path: Path) -> ApiKeyRing:
    return ApiKeyRing(Home(tmp_path))


def test_only_the_digest_is_stored_and_only_the_owner_reads_it(ring: ApiKeyRing) -> None:
    secret = ring.add("anna", now_s=1, at_once=2)
    assert secret not in ring.file.read_text()
    assert digest_of(secret) in ring.file.read_text()
    assert ring.file.stat().st_mode & 0o777 == 0o600
    found = ring.find(secret)
    assert found is not None
    assert (found.name, found.created_s, found.at_once) == ("anna", 1, 2)
    assert ring.find(secret + "x") is None
    assert ring.find("") is None
    assert ring.find("\udcff") is None


def test_another_process_s_change_is_seen_at_once(ring: ApiKeyRing, tmp_path: Path) -> None:
    secret = ring.add("anna", now_s=1, at_once=2)
    assert ring.find(secret) is not None
    ApiKeyRing(Home(tmp_path)).revoke("anna")
    assert ring.find(secret) is None


@pytest.mark.parametrize("name", ["", "Anna", "a b", "a/b", "-a", "a" * 41, "ä"])
def test_bad_name_is_refused(ring: ApiKeyRing, name: str) -> None:
    with pytest.raises(InputError, match="can't be the name of a key"):
        ring.add(name, now_s=1, at_once=2)


def test_a_taken_name_and_an_unknown_one_are_refused(ring: ApiKeyRing) -> None:
    first = ring.add("anna", now_s=1, at_once=2)
    with pytest.raises(InputError, match="is taken"):
        ring.add("anna", now_s=1, at_once=2)
    with pytest.raises(InputError, match="there is no key 'bob'"):
        ring.revoke("bob")
    ring.revoke("anna")
    assert ring.find(first) is None
    assert ring.find(ring.add("anna", now_s=2, at_once=2)) is not None


def test_there_are_only_so_many_keys(ring: ApiKeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KEYS_MAX", 2)
    for name in ("anna", "bob"):
        ring.add(name, now_s=1, at_once=1)
    with pytest.raises(InputError, match="there are 2 keys already"):
        ring.add("cyd", now_s=1, at_once=1)


WRONG = {"digest": "0" * 63, "created_s": "1", "at_once": 0}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"name": 1}]}', "\x00"])
def test_torn_file_is_a_clear_error_and_stays(ring: ApiKeyRing, content: str) -> None:
    ring.add("anna", now_s=1, at_once=2)
    ring.file.write_text(content)
    with pytest.raises(ConfigError, match="is damaged"):
        ring.find("olk-x")
    with pytest.raises(ConfigError, match="is damaged"):
        ring.add("bob", now_s=1, at_once=2)
    status, message = cast(tuple[int, str], NamedCallers(ring).admit("/v1/models", "olk-x"))
    assert (status, "is damaged" in message) == (503, True)
    assert ring.file.read_text() == content


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_a_damaged_file(ring: ApiKeyRing, field: str) -> None:
    ring.add("anna", now_s=1, at_once=2)
    content = json.loads(ring.file.read_text())
    content["keys"][0][field] = WRONG[field]
    ring.file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="is damaged"):
        ring.all()


def test_file_that_others_can_read_is_refused(ring: ApiKeyRing) -> None:
    ring.add("anna", now_s=1, at_once=2)
    ring.file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ring.all()
