"""A command that ends with the demo: `python -m openledger_node.demo.child WORDS` is `openledger-node WORDS`.

Its stdin is a pipe that only the demo's process holds open. However that process ends, the pipe closes.
"""

import os
import runpy
import signal
import threading

STDIN = 0


def main() -> None:
    """Run the command, and watch the pipe."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("openledger_node", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(STDIN, 1):
        pass
    os._exit(1)  # at once: nobody needs the data of this node any more


if __name__ == "__main__":
    main()
