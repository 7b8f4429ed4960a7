"""Trade with peers that share no code with this node, and show which directions work.

js-libp2p is a buyer and a seller in tests/interop, written from docs/reference/wire.md alone. go-libp2p is its daemon
`p2pd`, as a relay and as a peer. Exits with 1 if a check fails.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from interop_go import find_daemon, go_checks
from interop_js import javascript_checks, why_no_javascript


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how often each check runs")
    times = parser.parse_args().times
    passed: list[bool] = []
    try:
        program = find_daemon()
    except OSError as error:
        print(f"NOT TESTED: go-libp2p as a relay and as a peer: {error}")
    else:
        passed += run(go_checks(program), times)
    if why := why_no_javascript():
        print(f"NOT TESTED: js-libp2p as a buyer and as a seller: {why}")
    else:
        with javascript_checks() as checks:
            passed += run(checks, times)
    print(f"{sum(passed)} passed, {passed.count(False)} failed")
    sys.exit(0 if all(passed) else 1)


def run(checks: Mapping[str, Callable[[], str]], times: int) -> list[bool]:
    """Run each check so many times, print its lines, and return whether it passed."""
    passed = []
    for name, check in checks.items():
        for number in range(1, times + 1):
            began_s = time.monotonic()
            try:
                found = check()
                passed.append(True)
            except Exception as error:
                found = f"FAILED: {error!r}"
                passed.append(False)
            print(f"{f'{name}, {number}':<34} {time.monotonic() - began_s:5.1f} s  {found}", flush=True)
    return passed


if __name__ == "__main__":
    main()
