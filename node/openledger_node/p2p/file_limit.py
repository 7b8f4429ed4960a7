"""The number of files and sockets that this process may open, which bounds the number of peers."""

import logging
import resource

FILES_FOR_OTHERS = 768
"""Files beside the sockets of peers that dial in: handshakes, connections of this node's own, and files."""

log = logging.getLogger(__name__)


def places_for(peers_max: int) -> int:
    """The peers that may dial in: `peers_max`, or fewer if this process may not open as many files."""
    wanted = peers_max + FILES_FOR_OTHERS
    allowed = raise_file_limit(wanted)
    places = max(1, min(peers_max, allowed - FILES_FOR_OTHERS))
    if places < peers_max:
        log.warning(
            "%d peers can be connected at once, not %d, because this process may open only %d files: "
            "raise its hard limit (`ulimit -Hn`, or LimitNOFILE= of its systemd unit) to %d",
            places,
            peers_max,
            allowed,
            wanted,
        )
    return places


def raise_file_limit(wanted: int) -> int:
    """Raise the soft limit to `wanted` if the hard limit allows it, and return the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
