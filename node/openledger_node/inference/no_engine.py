"""The engine of a node that only asks: there is none, and nothing is ever ready."""

import trio

from .engine import Engine


class NoEngine(Engine):
    """Stands where an engine would."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start nothing."""
        self.state = "absent"
        task_status.started()
        await trio.sleep_forever()
