"""A second environment: linked packages, another release of the program, and nothing left after a failure."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.release_site import manifest_fields, new_key, public, signed_manifest, tiny_wheel

from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.operator.updates import environment
from openledger_node.operator.updates.environment import install_release, is_checkout, why_not_here
from openledger_node.operator.updates.manifest import ReleaseManifest, read_manifest
from openledger_node.operator.updates.releases import releases_folder

KEY = new_key()
MAIN = "from importlib.metadata import version\ndef main(): print(version('openledger-node'))\n"
SOUND = {
    "openledger_node/__init__.py": "",
    "openledger_node/daemon.py": "",
    "openledger_node/config.py": "def load_config(file): assert file.name == 'node.toml'\n",
    "openledger_node/ledger/__init__.py": "",
    "openledger_node/ledger/migrations.py": "MIGRATIONS = [1, 2, 3]\n",
    "openledger_node/cli/__init__.py": "",
    "openledger_node/cli/main.py": MAIN,
}
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """An environment with pip, one other package, and version 0.1.0 of the program."""
    folder = tmp_path / "running"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / "lib" / PYTHON / "site-packages"
    pip = importlib.util.find_spec("pip")
    assert pip
    assert pip.origin
    (packages / "pip").symlink_to(Path(pip.origin).parent)
    (packages / "heavy").mkdir()
    (packages / "heavy" / "weights.bin").write_bytes(b"heavy")
    wheel = tiny_wheel(tmp_path, "0.1.0", {**SOUND, "openledger_node/removed_later.py": ""})
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    return folder


def offered(tmp_path: Path, version: str, modules: dict[str, str]) -> tuple[ReleaseManifest, Path, Path]:
    folder = tmp_path / "offered"
    folder.mkdir()
    wheel, lock = tiny_wheel(folder, version, modules), folder / "run.lock"
    lock.write_text("# nothing has changed\n")
    fields = manifest_fields("https://releases.example", wheel.read_bytes(), lock.read_bytes(), "0.2.0")
    content = signed_manifest(fields, KEY)
    return read_manifest(content, keys=[public(KEY)], signatures_min=1, now_s=1.0), wheel, lock


@pytest.mark.slow
def test_a_release_is_installed_beside_the_running_one(home: Home, tmp_path: Path, running: Path) -> None:
    told: list[str] = []
    new = install_release(home, *offered(tmp_path, "0.2.0", SOUND), told.append, running=running)
    assert (new.version, new.ledger, new.folder.parent) == ("0.2.0", 3, releases_folder(home))
    for program, version in ((Path(new.program), "0.2.0"), (running / "bin" / "openledger-node", "0.1.0")):
        assert subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout == f"{version}\n"
    packages, former = (each / "lib" / PYTHON / "site-packages" for each in (new.folder, running))
    assert (packages / "heavy" / "weights.bin").samefile(former / "heavy" / "weights.bin")
    assert not (packages / "openledger_node" / "removed_later.py").exists()
    assert (former / "openledger_node" / "removed_later.py").exists()
    assert told[-1] == "checking the new release"


BROKEN = {**SOUND, "openledger_node/daemon.py": "raise RuntimeError('broken on this machine')\n"}
REFUSING = {**SOUND, "openledger_node/config.py": "def load_config(file): raise ValueError('unknown key')\n"}
MUTE = {**SOUND, "openledger_node/daemon.py": "import io, sys\nsys.stdout = io.StringIO()\n"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "modules", "words"),
    [
        ("0.2.0", BROKEN, "fails its own check.*broken on this machine"),
        ("0.2.0", REFUSING, "fails its own check.*unknown key"),
        ("0.2.0", MUTE, "fails its own check: it does not say which version it is"),
        ("0.3.0", SOUND, "the wheel holds version 0.3.0, and the manifest says 0.2.0"),
    ],
)
def test_a_release_that_fails_its_check_leaves_nothing(
    home: Home, tmp_path: Path, running: Path, version: str, modules: dict[str, str], words: str
) -> None:
    with pytest.raises(NodeError, match=words):
        install_release(home, *offered(tmp_path, version, modules), lambda _: None, running=running)
    assert list(releases_folder(home).glob("0*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("num_installed", [0, 2])
def test_an_environment_with_no_program_or_two_is_not_copied(
    home: Home, tmp_path: Path, running: Path, num_installed: int
) -> None:
    (record,) = (running / "lib" / PYTHON / "site-packages").glob("openledger_node-*.dist-info")
    if num_installed:
        shutil.copytree(record, record.with_name("openledger_node-0.0.9.dist-info"))
    else:
        shutil.rmtree(record)
    with pytest.raises(NodeError, match=f"holds {num_installed} installations of openledger-node: remove them"):
        install_release(home, *offered(tmp_path, "0.2.0", SOUND), lambda _: None, running=running)
    assert list(releases_folder(home).glob("0*")) == []


@pytest.mark.slow
def test_a_package_that_the_lock_does_not_name_by_hash_is_refused(home: Home, tmp_path: Path, running: Path) -> None:
    manifest, wheel, lock = offered(tmp_path, "0.2.0", SOUND)
    lock.write_text("absent-package==1.0\n")
    with pytest.raises(NodeError, match="pip can't install the packages"):
        install_release(home, manifest, wheel, lock, lambda _: None, running=running)


def test_a_checkout_and_a_container_say_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_checkout()
    assert "git pull" in (why_not_here() or "")
    monkeypatch.setattr(environment, "CONTAINER_MARKS", (Path("/"),))
    assert "new image" in (why_not_here() or "")


STATED: list[tuple[dict[str, object] | None, bool]] = [
    (None, False),
    ({"archive_info": {}}, False),
    ({"dir_info": {"editable": True}}, True),
]


@pytest.mark.parametrize(("stated", "is_one"), STATED)
def test_only_an_editable_installation_is_a_checkout(
    monkeypatch: pytest.MonkeyPatch, stated: dict[str, object] | None, is_one: bool
) -> None:
    class Stated:
        def read_text(self, _: str) -> str | None:
            return None if stated is None else json.dumps(stated)

    monkeypatch.setattr(environment, "distribution", lambda _: Stated())
    assert is_checkout() == is_one
