"""Trade with peers that share no code with this node, and show which directions work.

js-libp2p is a buyer and a seller in tests/interop, written from docs/reference/wire.md alone. go-libp2p is its daemon
`p2pd`, as a relay and as a peer. Exits with 1 if a check fails.
"""

import argparse
import sys

from interop_go import find_daemon, test_go
from interop_js import test_javascript, why_no_javascript
from interop_results import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how often each check runs")
    times = parser.parse_args().times
    results = Results()
    try:
        program = find_daemon()
    except OSError as error:
        print(f"NOT TESTED: go-libp2p as a relay and as a peer: {error}")
    else:
        test_go(results, program, times)
    if why := why_no_javascript():
        print(f"NOT TESTED: js-libp2p as a buyer and as a seller: {why}")
    else:
        test_javascript(results, times)
    print(f"{results.num_passed} passed, {len(results.failed)} failed")
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
