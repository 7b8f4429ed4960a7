"""The metrics of a bootstrap node in Prometheus' text format; no peer ids and no addresses."""

import os
from collections.abc import Iterator
from typing import Final

from .. import __version__
from ..machine import resident_bytes
from ..p2p.bootstrap import bootstrap_places
from ..p2p.bootstrap_view import BootstrapView
from ..p2p.relay_places import CIRCUITS_MAX, RESERVATIONS_MAX
from ..p2p.tally import Counted, Level, Reason
from .exposition import PREFIX, Family, MetricTable, Reading, Sample, by_label, figures

# ---- Every metric of a bootstrap node; docs/reference/metrics.md is generated from this table.

BOOTSTRAP_METRICS: Final = MetricTable(
    (
        Family(name="build_info", kind="gauge", help="Always 1; the label is the version.", labels=("version",)),
        Family(name="uptime_seconds", kind="gauge", help="Seconds since the node's start."),
        Family(name="resident_bytes", kind="gauge", help="Memory of the process."),
        Family(name="open_fds", kind="gauge", help="Open file descriptors of the process."),
        Family(
            name="reached",
            kind="gauge",
            help="1 if others reach this node, 0 if they don't; absent while nobody has shown it.",
        ),
        Family(
            name="connections",
            kind="gauge",
            help="Connected peers: inbound, relayed (inbound over a relay), kept (dialled to stay) or called.",
            labels=("kind",),
        ),
        Family(name="connections_max", kind="gauge", help="Places for peers that dial in."),
        Family(
            name="visitors",
            kind="gauge",
            help="Connected peers that dialled in from other machines of the network.",
        ),
        Family(name="registrations", kind="gauge", help="Peers registered for rendezvous."),
        Family(name="provider_records", kind="gauge", help="Records of which peers have which adapters."),
        Family(name="topics", kind="gauge", help="Gossip topics that peers need and this node follows."),
        Family(name="reservations", kind="gauge", help="Peers with a place at the relay."),
        Family(name="reservations_max", kind="gauge", help="Places at the relay."),
        Family(name="circuits", kind="gauge", help="Open circuits of the relay."),
        Family(name="circuits_max", kind="gauge", help="Circuits that may be open at once."),
        Family(name="circuits_total", kind="counter", help="Circuits that were opened."),
        Family(
            name="relayed_bytes_total",
            kind="counter",
            help="Bytes that circuits have carried, both directions together.",
        ),
        Family(
            name="gossip_messages_total",
            kind="counter",
            help="Messages heard for the first time, by verdict: passed, ignored or rejected.",
            labels=("verdict",),
        ),
        Family(
            name="dialbacks_total",
            kind="counter",
            help="Peers that asked whether they can be dialled, by result: reached or not_reached.",
            labels=("result",),
        ),
        Family(
            name="refusals_total",
            kind="counter",
            help="Refusals by reason: barred, handshakes, connections, flood, registration, relay_rate, relay_place, "
            "relay_target or dialback.",
            labels=("reason",),
        ),
    ),
    prefix=f"{PREFIX}bootstrap_",
)


def bootstrap_metrics(view: BootstrapView) -> str:
    """Read all metrics of a bootstrap node."""
    return BOOTSTRAP_METRICS.text(_readings(view))


def _readings(view: BootstrapView) -> Iterator[Reading]:
    tally, is_reached = view.tally, view.reach().is_reached
    yield Sample(family="build_info", value=1, labels={"version": __version__})
    yield Sample(family="uptime_seconds", value=round(view.uptime_s, 1))
    if (resident := resident_bytes(os.getpid())) is not None:
        yield Sample(family="resident_bytes", value=resident)
        yield Sample(family="open_fds", value=len(os.listdir("/dev/fd")))
    if is_reached is not None:
        yield Sample(family="reached", value=is_reached)
    values = {
        "visitors": view.num_visitors(),
        "registrations": sum(tally.level(Level.REGISTRATIONS).values()),
        "provider_records": sum(tally.level(Level.RECORDS).values()),
        "topics": sum(tally.level(Level.TOPICS).values()),
        "reservations": sum(tally.level(Level.RESERVATIONS).values()),
        "circuits": sum(tally.level(Level.CIRCUITS).values()),
        "circuits_total": tally.total(Counted.CIRCUIT),
        "relayed_bytes_total": tally.total(Counted.RELAYED_BYTES),
        "connections_max": bootstrap_places(),
        "reservations_max": RESERVATIONS_MAX,
        "circuits_max": CIRCUITS_MAX,
    }
    yield from figures(values)
    # Kinds that have not happened yet are 0, so that the first one is seen as an increase.
    kinds = {
        ("connections", "kind"): tally.level(Level.CONNECTIONS),
        ("gossip_messages_total", "verdict"): _with_zeros(
            tally.counts(Counted.GOSSIP), "passed", "ignored", "rejected"
        ),
        ("dialbacks_total", "result"): _with_zeros(tally.counts(Counted.DIALBACK), "reached", "not_reached"),
        ("refusals_total", "reason"): _with_zeros(tally.counts(Counted.REFUSAL), *Reason),
    }
    for (name, label), counts in kinds.items():
        yield from by_label(name, label, counts)


def _with_zeros(counts: dict[str, int], *kinds: str) -> dict[str, int]:
    return {**dict.fromkeys(map(str, kinds), 0), **counts}
