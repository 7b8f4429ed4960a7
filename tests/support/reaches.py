"""One node's reachability in each of its six states, as evidence gives them."""

from dataclasses import replace

from openledger_node.p2p.reachability import Evidence, Reach, RouterAnswer, RouterState, reach_of
from openledger_node.p2p.scopes import Scope
from openledger_protocol.wire.dialback import Dialled

RELAYS = tuple(f"/ip4/8.8.{number}.1/tcp/4001/p2p/relay{number}/p2p-circuit/p2p/own" for number in (1, 2))
HOME = Evidence(network=Scope.INTERNET, listening=("/ip4/192.168.1.20/tcp/4120",), port=4120, num_peers=3)
CLOSED = replace(HOME, answers=(Dialled(host="11.0.0.7", open=()),) * 3)
OPEN = replace(HOME, answers=(Dialled(host="11.0.0.7", open=(4120,)),) * 3)
MAPPED = RouterAnswer(state=RouterState.MAPPED, words="it forwards port 4120", address="/ip4/11.0.0.7/tcp/4120")
SHARED = RouterAnswer(state=RouterState.SHARED, words="its address 100.64.0.9 is shared")

EVIDENCE: dict[str, Evidence] = {
    "unknown": HOME,
    "public": OPEN,
    "mapped": replace(OPEN, router=MAPPED),
    "punched": replace(CLOSED, relays=RELAYS, has_punched=True),
    "relayed": replace(CLOSED, relays=RELAYS, router=SHARED),
    "unreachable": CLOSED,
}
REACHES: dict[str, Reach] = {name: reach_of(evidence) for name, evidence in EVIDENCE.items()}
