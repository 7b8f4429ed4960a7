"""All tests, in two pytest runs side by side: those that start whole nodes mostly wait, the others mostly compute.

The first run's output is shown when it is over, behind the other's. Exits 0 only if both do.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PYTEST = str(Path(sys.executable).with_name("pytest"))
WAITING = ["tests/network", "tests/house/test_install.py"]


def main() -> None:
    others = [word for path in WAITING for word in ("--ignore", path)]
    with tempfile.TemporaryFile("w+") as kept:
        waiting = subprocess.Popen([PYTEST, *WAITING], stdout=kept, stderr=subprocess.STDOUT)
        try:
            status = subprocess.run([PYTEST, *others], check=False).returncode
            status = waiting.wait() or status
        finally:
            waiting.kill()
        kept.seek(0)
        print(kept.read(), flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
