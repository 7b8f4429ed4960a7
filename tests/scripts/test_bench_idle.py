"""What the bench of idle daemons reads from `ss`."""

import sys

from support.scripts import SCRIPTS

sys.path.insert(0, str(SCRIPTS / "bench"))

from idle import read_sockets

PRINTED = """\
0 0 127.0.0.1:37204 127.0.0.1:4001 users:(("openledger-node",pid=7,fd=4)) bbr bytes_sent:1000 bytes_acked:1001
0 0 127.0.0.1:4001 127.0.0.1:37204 users:(("python",pid=8,fd=5)) bbr bytes_received:1000 segs_out:1 send 1bps
0 0 127.0.0.1:5000 127.0.0.1:8545 users:(("openledger-node",pid=7,fd=9)) bbr bytes_sent:20 bytes_received:30
0 0 [::1]:5002 [::1]:4001 users:(("openledger-node",pid=7,fd=11)) bbr bytes_sent:5 bytes_retrans:5 bytes_received:6
0 0 127.0.0.1:1 127.0.0.1:2 bbr bytes_sent:99
"""


def test_bytes_are_added_up_by_process_and_the_chain_is_apart() -> None:
    assert read_sockets(PRINTED, 8545) == {
        (7, "peers", "sent"): 1005,
        (7, "peers", "received"): 6,
        (8, "peers", "received"): 1000,
        (7, "chain", "sent"): 20,
        (7, "chain", "received"): 30,
    }
