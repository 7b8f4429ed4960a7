"""Reviews that wait for the owner of Datanets: pending batches, and appeals without a decision."""

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import NodeError
from ..home import Home
from .own_files import DATANET_FILE, OWN_FOLDER
from .store import OwnDatanets

Seen = tuple[int, int]
"""Size and time of change of a file."""


@dataclass(slots=True)
class WaitingReviews:
    """Counts them at each look, and reads only the files that have changed since. It blocks."""

    home: Home
    _counted: dict[Path, tuple[Seen, int]] = field(default_factory=dict)

    def count(self) -> int:
        """The number of batches and appeals that wait; a damaged Datanet counts as none."""
        total = 0
        for file in self.home.datanets.glob(f"*/{OWN_FOLDER}/{DATANET_FILE}"):
            try:
                found = file.stat()
                seen = found.st_size, found.st_mtime_ns
                if self._counted.get(file, ((-1, -1), 0))[0] != seen:
                    self._counted[file] = seen, self._read(file.parent.parent.name)
            except (OSError, NodeError):
                continue
            total += self._counted[file][1]
        return total

    def _read(self, name: str) -> int:
        datanet = OwnDatanets(self.home).get(name)
        appeals = (each for batch in datanet.batches for each in batch.gate.appeals)
        return len(datanet.pending) + sum(each.upheld is None for each in appeals)
