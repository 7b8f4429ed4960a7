"""A number with its noun, as people say it."""


def counted(number: int, noun: str) -> str:
    """`1 receipt`, `2 receipts`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
