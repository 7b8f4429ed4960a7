"""Checks of the data directory: settings, secrets, and the daemon."""

import os

from ...access.keys import ApiKeyRing
from ...access.listening import PLAIN, public_addresses
from ...api_key import api_key_file, load_api_key
from ...config import load_config
from ...home import SOCKET_PATH_BYTES_MAX, is_claimed
from ...hours import read_hours
from .finding import Verdict
from .scene import Scene


def settings(scene: Scene) -> Verdict:
    """node.toml and the environment are valid."""
    config, origins = load_config(scene.home.config_file)
    read_hours(config.limits.hours)
    changed = sum(origin.source != "default" for origin in origins)
    if not changed:
        return Verdict("all defaults")
    return Verdict(f"{changed} of {len(origins)} set, in {scene.home.config_file} or the environment")


def writable(scene: Scene) -> Verdict:
    """The node can write to its data directory."""
    home = scene.home
    places = [home.root, *(each for each in (home.keys, home.models, home.adapters) if each.exists())]
    closed = [place for place in places if not os.access(place, os.W_OK | os.X_OK)]
    if closed:
        return Verdict(
            f"{closed[0]} is not writable", f"run `chown -R $USER {home.root}`, or mount its disk for writing"
        )
    if len(os.fsencode(home.socket)) > SOCKET_PATH_BYTES_MAX:
        return Verdict(f"{home.socket} is too long for a socket's path", "set OPENLEDGER_HOME to a shorter path")
    return Verdict(str(home.root))


def private(scene: Scene) -> Verdict:
    """Other users can't read the secrets."""
    keys = [scene.home.keys, *scene.home.root.glob("networks/*/keys")]
    files = [file for folder in keys if folder.exists() for file in (folder, *folder.iterdir())]
    opened = [file for file in files if file.stat().st_mode & 0o077]
    if opened:
        return Verdict(f"other users can read {opened[0]}", f"run `chmod -R go= {opened[0]}`")
    return Verdict(f"{len(files)} files and folders are private")


def api_key(scene: Scene) -> Verdict:
    """Other users can't read the API key, if there is one yet."""
    if not api_key_file(scene.home).exists():
        return Verdict("created at the first start")
    load_api_key(scene.home)
    return Verdict(str(api_key_file(scene.home)))


def listeners(scene: Scene) -> Verdict:
    """The API listens on loopback only, or its other addresses have a named key and listed origins."""
    api = scene.config.api
    addresses = public_addresses(api, ApiKeyRing(scene.home))
    if not addresses:
        return Verdict("loopback only")
    return Verdict(f"also {', '.join(map(str, addresses))}; {PLAIN}")


def daemon(scene: Scene) -> Verdict:
    """A running daemon answers."""
    status = scene.status
    if status is None:
        stale = scene.home.socket.exists() and not is_claimed(scene.home)
        return Verdict("not running; the last one did not stop cleanly" if stale else "not running")
    return Verdict(f"{status['state']}, version {status['version']}, for {status['uptime_s']:.0f} s")


def pause(scene: Scene) -> Verdict:
    """The node's pause, if any; a pause is no problem."""
    status = scene.status
    if status is None:
        return Verdict("paused: the next start begins paused" if scene.home.paused.exists() else "not paused")
    return Verdict(status["paused"]["why"] if status["paused"] else "not paused")
