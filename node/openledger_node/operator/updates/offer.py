"""The newest release beside the running one, and its installation, as the command and the node itself need them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from ... import __version__
from ...errors import NetworkError
from ...home import Home
from ...upkeep_tables import UpdateConfig
from .environment import Tell, install_release, running_release
from .fetch import fetch_file, find_manifest
from .manifest import ReleaseManifest
from .releases import InstalledRelease, ReleaseChoice, one_update, read_choice, remove_unused, switch_to

Agree = Callable[[InstalledRelease, InstalledRelease], None]
"""Takes the new release and the running one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOffer:
    """The manifest of the newest release, compared with what runs and ran here."""

    manifest: ReleaseManifest
    choice: ReleaseChoice | None

    @property
    def version(self) -> str:
        """Version of the newest release."""
        return str(self.manifest.version)

    @property
    def is_newer(self) -> bool:
        """True if it is newer than this program."""
        return self.manifest.version > Version(__version__)

    @property
    def can_update(self) -> bool:
        """True if this program is new enough for it."""
        return Version(__version__) >= self.manifest.minimum

    @property
    def was_left(self) -> bool:
        """True if the node has returned from it to a former release."""
        return bool(self.choice and self.choice.fallen_back and self.choice.fallen_back.version == self.version)

    def to_plain(self) -> dict[str, Any]:
        """The comparison for JSON."""
        fallen_back = self.choice.fallen_back if self.choice else None
        return {
            "installed": __version__,
            "newest": self.version,
            "is_newer": self.is_newer,
            "can_update": self.can_update,
            "manifest": self.manifest.to_plain(),
            "notes": self.manifest.notes,
            "fallen_back": fallen_back.version if fallen_back else None,
        }


async def find_offer(home: Home, config: UpdateConfig) -> ReleaseOffer:
    """Fetch the manifest of the newest release.

    Raises:
        ConfigError: no source is set, or no key is trusted.
        NetworkError: there is no manifest that may be trusted, or it is older than one that was installed.
    """
    manifest = await find_manifest(config)
    choice = read_choice(home)
    _check_not_older(manifest, choice)
    return ReleaseOffer(manifest=manifest, choice=choice)


def install_offer(home: Home, offer: ReleaseOffer, tell: Tell, agree: Agree) -> InstalledRelease:
    """Install the release that was offered beside this one, and choose it. Blocks.

    A second look at its server could show another release. `agree` may refuse the installed one by an error.

    Raises:
        ConfigError: another update runs.
        NetworkError: a later release was installed since the offer.
        NodeError: the files can't be downloaded, or the release can't be installed.
    """
    manifest = offer.manifest
    with one_update(home) as downloads:
        _check_not_older(manifest, read_choice(home))
        remove_unused(home)
        tell(f"downloading {manifest.wheel.name}")
        wheel, lock = fetch_file(manifest.wheel, downloads), fetch_file(manifest.lock, downloads)
        new, running = install_release(home, manifest, wheel, lock, tell), running_release()
        try:
            agree(new, running)
        except BaseException:  # also an owner's Ctrl-C at the question
            shutil.rmtree(new.folder, ignore_errors=True)
            raise
        switch_to(home, new, running)
        return new


def _check_not_older(manifest: ReleaseManifest, choice: ReleaseChoice | None) -> None:
    if choice and manifest.version < Version(choice.highest):
        raise NetworkError(
            f"the manifest names version {manifest.version}, and {choice.highest} was installed here before: its "
            "server shows an old one"
        )
