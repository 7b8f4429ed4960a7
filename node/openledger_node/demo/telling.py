"""Parts of the story as whoever shows it gets them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A contributor whom an answer pays, by name."""

    name: str
    ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """One question, with the answers of base and adapter, and the contributors who taught the adapter's."""

    number: int  # from 1
    question: str
    model: str  # the adapter
    seller: str  # the node that answered
    base_text: str
    text: str
    is_right: bool
    amount_wei: int
    teachers: tuple[Teacher, ...]
