"""Refusals of a named key's request for want of budget."""

from typing import ClassVar

from openledger_protocol.errors import OverloadedError


class QuotaError(OverloadedError):
    """The key's budget of the day is used up; the same request succeeds after midnight UTC."""

    code: ClassVar[str] = "insufficient_quota"
    retryable: ClassVar[bool] = False


class HeldError(OverloadedError):
    """The rest of the budget is held by running requests of the key."""

    code: ClassVar[str] = "rate_limit_exceeded"
    retryable: ClassVar[bool] = True
