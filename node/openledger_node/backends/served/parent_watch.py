"""Run one program, and end it and all its children as soon as the parent process has ended.

`python parent_watch.py GRACE_S FOLDER PROGRAM…`: standard input is a pipe that closes when the parent ends, even if
it is killed. FOLDER is removed at the end. This file is run by its path and imports nothing of this project, because
it stays in memory as long as the server.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start the program and wait; this process leads a process group, which ends with it."""
    grace_s, folder, program = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.signal(
        signal.SIGTERM, _ignore
    )  # we send it to our own group; not SIG_IGN, which the program would inherit
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_after, args=(process, folder), daemon=True).start()
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _end(folder)


def _ignore(*_: object) -> None:
    pass


def _end_after(process: "subprocess.Popen[bytes]", folder: str) -> None:
    process.wait()
    _end(folder)


def _end(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # children that the server may have left behind, and this process


if __name__ == "__main__":
    main()
