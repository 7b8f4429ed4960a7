"""A temporary folder that is deleted even if this process is killed: another process waits for that and deletes it.

`python -m openledger_node.demo.scratch FOLDER` is that process. Its stdin is the pipe of `life_line`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

PREFIX: Final = "openledger-demo-"
STDIN: Final = 0
QUIET_S: Final = 2.0
"""The folder is gone for good once nothing has come back for so long; processes that are ending may still write."""

POLL_S: Final = 0.1
TRIES_MAX: Final = 300


@cache
def life_line() -> int:
    """The reading end of a pipe that this process holds open until it ends; children get it as their stdin."""
    reader, _ = os.pipe()
    return reader


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder, and delete it at the end, also after a kill of this process."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    cleaner = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder)],
        stdin=life_line(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # so that what ends this process's group or terminal does not reach it
    )
    try:
        yield folder
    except BaseException:
        # The cleaner has the last word, since a child that was just started may write once more before it ends.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        cleaner.kill()
        cleaner.wait()


def delete_for_good(folder: Path) -> None:
    """Delete a folder in which processes that are ending may still write."""
    gone_s = 0.0
    for _ in range(TRIES_MAX):
        if gone_s >= QUIET_S:
            return
        is_gone = not folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S)
        gone_s = gone_s + POLL_S if is_gone else 0.0


def main() -> None:
    """Wait until the pipe closes, and delete the folder."""
    while os.read(STDIN, 1):
        pass
    delete_for_good(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
