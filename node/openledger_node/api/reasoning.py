"""A wish for or against reasoning, in the forms that clients and servers have for it."""

from typing import Any

from openledger_protocol.errors import MalformedError

from .schemas import ChatBody

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "auto")
"""Values of `reasoning_effort`."""


def thinking_of(body: ChatBody) -> bool | None:
    """A wish for or against reasoning, in any of the forms that clients have for it; None without one.

    How much to reason is a hint that open models do not take, so only "none" and "minimal" count among the efforts.

    Raises:
        MalformedError: it has none of the known forms.
    """
    named = {
        "reasoning_effort": effort_wish(body.reasoning_effort, "reasoning_effort"),
        "reasoning": reasoning_wish(body.reasoning),
        "thinking": thinking_wish(body.thinking),
        "think": body.think,
        "enable_thinking": body.enable_thinking,
        "chat_template_kwargs": _template_wish(body.chat_template_kwargs),
    }
    wishes = {name: wish for name, wish in named.items() if wish is not None}
    if len(set(wishes.values())) > 1:
        raise MalformedError(f"{' and '.join(wishes)} contradict each other: send one of them", param=min(wishes))
    return next(iter(wishes.values()), None)


def effort_wish(effort: object, param: str) -> bool | None:
    """A wish against reasoning by its effort; None without one.

    Raises:
        MalformedError: there is no such effort.
    """
    if effort is not None and effort not in EFFORTS:
        raise MalformedError(f"{param} must be one of {', '.join(EFFORTS)}", param=param)
    return False if effort in ("none", "minimal") else None


def reasoning_wish(reasoning: dict[str, Any] | None) -> bool | None:
    """A wish in OpenRouter's and the Responses API's form.

    Raises:
        MalformedError: there is no such effort.
    """
    given = reasoning or {}
    enabled = given.get("enabled")
    return enabled if isinstance(enabled, bool) else effort_wish(given.get("effort"), "reasoning")


def thinking_wish(thinking: dict[str, Any] | None) -> bool | None:
    """A wish in Anthropic's form, which Chinese hosts took over.

    Raises:
        MalformedError: it has none of the known types.
    """
    match (thinking or {}).get("type"):
        case None | "auto" | "adaptive":
            return None
        case "enabled":
            return True
        case "disabled":
            return False
    raise MalformedError("thinking must have the type enabled, disabled or auto", param="thinking")


def _template_wish(arguments: dict[str, Any] | None) -> bool | None:
    """vLLM's form; other arguments would change the prompt in a way of one base's own."""
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    wishes = [value for name, value in given.items() if name in ("enable_thinking", "thinking")]
    if len(wishes) < len(given) or not all(isinstance(wish, bool) for wish in wishes) or len({*wishes}) > 1:
        raise MalformedError(
            "chat_template_kwargs takes enable_thinking, true or false, and nothing else",
            param="chat_template_kwargs",
        )
    return wishes[0] if wishes else None
