"""Counts of HTTP requests by route and status, never by path, caller or text."""

from collections import Counter
from typing import Any

from .guard import App, Incoming, Outgoing, Scope

NO_ROUTE = "none"
"""The route of the page's files, of refusals by the guard, and of unknown paths, which are the caller's text."""


class Traffic:
    """Counts the requests that an app answers."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()  # (route, status)
        self.num_in_flight = 0

    def around(self, app: App) -> App:
        """Wrap an app so that its requests are counted."""

        async def counted(scope: Scope, receive: Incoming, send: Outgoing) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            self.num_in_flight += 1
            status = 500  # if the app fails before it answers

            async def watch(message: Any) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            try:
                await app(scope, receive, watch)
            finally:
                self.num_in_flight -= 1
                self.answered[_route(scope), status] += 1

        return counted


def _route(scope: Scope) -> str:
    """The route's path as the app declares it."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return f"{scope.get('root_path', '')}{path}" if path else NO_ROUTE
