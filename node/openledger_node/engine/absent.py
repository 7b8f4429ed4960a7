"""Stand-in for the engine of a node that only buys answers."""

import trio

from .engine import Engine


class NoEngine(Engine):
    """It starts nothing, and is never ready."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start nothing."""
        self.state = "absent"
        task_status.started()
        await trio.sleep_forever()
