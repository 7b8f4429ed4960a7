"""Triton's interpreter, with each launch preparing the language once and not at every call of a device function.

Before a kernel runs, and again at each function that it calls, the interpreter looks through all names of the
language and replaces those that it interprets. The names do not change, and during a launch they are replaced
already. A third of the time of our small kernels would go there.
"""

import inspect
from functools import cache
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


class Launch:
    """What the outermost call has replaced, until the interpreter restores it."""

    def __init__(self, scope: Any, prepared: set[int]) -> None:
        self._scope = scope
        self._prepared = prepared

    def restore(self) -> None:
        """Restore the language, and forget that it was prepared."""
        self._prepared.clear()
        self._scope.restore()


def quicken_interpreter() -> None:
    """Replace how the interpreter of this process prepares the language; a second call changes nothing."""
    plain = interpreter._patch_lang
    if hasattr(plain, "__wrapped__"):
        return
    prepared: set[int] = set()

    def prepare(function: Any) -> Any:
        languages = {id(value) for value in function.__globals__.values() if value is tl or value is tl.core}
        if languages and languages <= prepared:
            return interpreter._LangPatchScope()
        scope = plain(function)
        prepared.update(languages)
        return Launch(scope, prepared)

    prepare.__wrapped__ = plain  # type: ignore[attr-defined]
    interpreter._patch_lang = prepare
    interpreter._patch_builtin = replace_known


def replace_known(package: Any, builder: Any, scope: Any) -> None:
    """Replace the functions of the language that the interpreter runs and that are not replaced yet."""
    for name in _names(package):
        if tl.core.is_builtin(member := getattr(package, name)):
            interpreter._patch_attr(package, name, member, builder, scope)


@cache
def _names(package: Any) -> list[str]:
    return [name for name, member in inspect.getmembers(package) if callable(member)]
