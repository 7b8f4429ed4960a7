"""Says of a base what fits this machine before it is downloaded, and refuses what can't be served here."""

from ..config import Config
from ..engine.base_fit import CPU_PARAMETERS_MAX
from ..engine.budget import check_disk_room
from ..errors import ModelError
from ..home import Home
from ..machine import Machine
from ..models.bases import FAKE_BASE_NAME
from ..models.known_bases import BYTES_OF_PARAMETER, known_base
from ..models.stores import locate
from ..operator.base_fits import form_text, place_text
from ..operator.base_look import BaseLook, BaseLooks
from .render import plain, say

ANYWAY_HELP = "Download the base even if this machine does not have the memory to serve it."


class BaseCheck(BaseLooks):
    """Prints what fits, and refuses what does not."""

    def __init__(self, home: Home, config: Config, *, is_anyway: bool) -> None:
        super().__init__(home, config)
        self._is_anyway = is_anyway

    def is_on_hub(self, base: str) -> bool:
        """Return True if only the hub knows what a base needs."""
        is_here = base == FAKE_BASE_NAME or self._folder_of(base) or locate(base)
        return not is_here and known_base(base) is None

    def require_fit(self, base: str, *, pull: bool = True) -> None:
        """Print whether a base fits in each quantisation, and refuse to download one that fits in none.

        `pull`: the download follows, so the disk must have room for it, too.

        Raises:
            ModelError: it does not fit into the memory, and the operator has not said `--anyway`.
            ConfigError: it does not fit on the disk, or under the operator's cap.
            NetworkError: the hub does not have it, or does not answer.
        """
        found = self.look(base)
        if found.forms or found.weight_bytes:
            show_trouble(self.machine)
            say(f"{plain(base)} on {plain(place_text(self.machine, self.room))}:")
            self._require_memory(base, found)
            if not self.room.on_gpu and found.weight_bytes > CPU_PARAMETERS_MAX * BYTES_OF_PARAMETER:
                say("  a base of this size answers slowly on a CPU")
        if pull and found.download_bytes:
            check_disk_room(self._home, self._limits.disk_bytes, more_bytes=found.download_bytes)

    def _require_memory(self, base: str, found: BaseLook) -> None:
        room = self.room
        for form in found.forms:
            say(f"  {form.quantisation:<5} {form_text(form, room)}")
        if why := self.why_not(base, found):
            self._refuse(found, why)
        elif not found.forms:
            here = f"{room.size_bytes / 1e9:.1f} GB"
            say(f"  takes {found.takes} of {here}; how much context fits beside it is not known")

    def _refuse(self, found: BaseLook, why: str) -> None:
        if self._is_anyway or not found.download_bytes:
            say(f"[yellow]note[/] {plain(why)}")
            return
        if found.hub:
            found.hub.forget()
        raise ModelError(f"{why}. Add --anyway to download it all the same")


def show_trouble(machine: Machine) -> None:
    """Print why the engine can't use this machine's card, and the fix."""
    if trouble := machine.trouble:
        say(f"[yellow]note[/] {plain(trouble.found)}" + (f" → {plain(trouble.fix)}" if trouble.fix else ""))
