"""An adapter's answer beside the base's: both asked the same at once, with the same seed, in two columns."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import NodeError
from .render import out_console, shown

REDRAWS_PER_S = 8
Pieces = Callable[[], Iterator[str]]


@dataclass(kw_only=True)
class Answer:
    """One column as it is written; its thread writes, everybody may read."""

    title: str
    pieces: Pieces
    text: str = ""
    num_pieces: int = 0
    began_s: float = 0.0
    first_s: float | None = None
    ended_s: float | None = None
    error: Exception | None = None
    thread: threading.Thread = field(init=False)

    def begin(self) -> None:
        """Ask."""
        self.began_s = time.monotonic()
        self.thread = threading.Thread(target=self._read, daemon=True)  # Ctrl-C leaves it behind
        self.thread.start()

    def _read(self) -> None:
        try:
            for piece in self.pieces():
                if piece:
                    self.first_s = self.first_s or time.monotonic()
                    self.text += piece
                    self.num_pieces += 1
        except NodeError as error:
            self.error = error
        self.ended_s = time.monotonic()

    @property
    def figures(self) -> str:
        """How fast it comes; pieces are tokens, as nearly as a reader can tell."""
        if self.first_s is None:
            return "waits for its first token"
        took_s = (self.ended_s or time.monotonic()) - self.first_s
        speed = f" · {(self.num_pieces - 1) / took_s:.0f} tokens/s" if took_s > 0 and self.num_pieces > 1 else ""
        return f"{self.num_pieces} tokens · {self.first_s - self.began_s:.2f} s to first{speed}"


def ask_both(base: Answer, adapter: Answer, *, is_quiet: bool) -> None:
    """Ask both at once, and show them side by side where the terminal can, one below the other where not.

    Raises:
        NodeError: one of them was refused, or broke.
    """
    both = (base, adapter)
    for answer in both:
        answer.begin()
    if not is_quiet and out_console.is_terminal:
        with Live(console=out_console, refresh_per_second=REDRAWS_PER_S, get_renderable=lambda: _table(both)):
            _wait(both)
    else:
        _wait(both)
        if not is_quiet:
            for answer in both:
                out_console.print(f"{answer.title} ({answer.figures})", markup=False)
                out_console.print(shown(answer.text), markup=False)
    if failed := next((answer.error for answer in both if answer.error), None):
        raise failed


def _wait(both: tuple[Answer, ...]) -> None:
    for answer in both:
        answer.thread.join()


def _table(both: tuple[Answer, ...]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0))
    for answer in both:
        table.add_column(Text(answer.title), ratio=1, overflow="fold", header_style="bold")
    table.add_row(*(Text(answer.figures, style="dim") for answer in both))
    table.add_row(*(Text(shown(answer.text)) for answer in both))
    return table
