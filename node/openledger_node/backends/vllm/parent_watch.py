"""Runs one program and ends it, with all that it started, as soon as whoever started us is gone.

`python parent_watch.py GRACE_S FOLDER PROGRAM…`: standard input is the lifeline, a pipe that closes however the other
end dies, killed included. FOLDER is removed at the end. This file is run by its path and imports nothing of ours: it
is there for as long as the server is, and should weigh nothing.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start the program and stay with it; the process group that we lead ends with us."""
    grace_s, folder, program = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.signal(signal.SIGTERM, _ignore)  # ours to the group; a handler, since SIG_IGN would be inherited
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
    os.killpg(0, signal.SIGKILL)  # the server's own children, which it may have left behind, and ourselves


if __name__ == "__main__":
    main()
