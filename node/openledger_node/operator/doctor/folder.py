"""Checks of the home: settings, secrets, the daemon that holds it, and what was said there last."""

import os
import re

from ...api_key import api_key_file, load_api_key
from ...config import load_config
from ...home import SOCKET_PATH_BYTES_MAX, is_claimed
from ..access import tail
from ..pause_rules import read_hours
from .finding import Verdict
from .scene import Scene

FAILURE = re.compile(r"\b(Traceback|CRITICAL|[A-Z]\w*Error\b|Killed|out of memory)")


def settings(scene: Scene) -> Verdict:
    """node.toml and the environment are understood: no unknown key, nothing out of bounds."""
    config, origins = load_config(scene.home.config_file)
    read_hours(config.limits.hours)
    changed = sum(origin.source != "default" for origin in origins)
    if not changed:
        return Verdict("all defaults")
    return Verdict(f"{changed} of {len(origins)} set, in {scene.home.config_file} or the environment")


def writable(scene: Scene) -> Verdict:
    """The node may write into its home."""
    home = scene.home
    places = [home.root, *(each for each in (home.keys, home.models, home.adapters, home.logs) if each.exists())]
    closed = [place for place in places if not os.access(place, os.W_OK | os.X_OK)]
    if closed:
        return Verdict(
            f"{closed[0]} can't be written", f"run `chown -R $USER {home.root}`, or mount its disk for writing"
        )
    if len(os.fsencode(home.socket)) > SOCKET_PATH_BYTES_MAX:
        return Verdict(f"{home.socket} is too long for a socket", "set OPENLEDGER_HOME to a shorter path")
    return Verdict(str(home.root))


def private(scene: Scene) -> Verdict:
    """Secrets are their owner's alone."""
    keys = [scene.home.keys, *scene.home.root.glob("networks/*/keys")]
    files = [file for folder in keys if folder.exists() for file in (folder, *folder.iterdir())]
    opened = [file for file in files if file.stat().st_mode & 0o077]
    if opened:
        return Verdict(f"others can reach {opened[0]}", f"run `chmod -R go= {opened[0]}`")
    return Verdict(f"{len(files)} files and folders")


def api_key(scene: Scene) -> Verdict:
    """The API key, if there is one yet, is its owner's alone."""
    if not api_key_file(scene.home).exists():
        return Verdict("drawn at the first start")
    load_api_key(scene.home)
    return Verdict(str(api_key_file(scene.home)))


def daemon(scene: Scene) -> Verdict:
    """A daemon that runs answers, and so does its engine."""
    status = scene.status
    if status is None:
        stale = scene.home.socket.exists() and not is_claimed(scene.home)
        return Verdict("not running; the one before it did not end by itself" if stale else "not running")
    return Verdict(f"{status['state']}, version {status['version']}, for {status['uptime_s']:.0f} s")


def pause(scene: Scene) -> Verdict:
    """Whether it stands aside, and for whom."""
    status = scene.status
    if status is None:
        return Verdict("its owner's pause waits for the next start" if scene.home.paused.exists() else "not paused")
    return Verdict(status["paused"]["why"] if status["paused"] else "not paused")


def engine_log(scene: Scene) -> Verdict:
    """How the engine's last words sound, where it runs no more, or was started again."""
    status = scene.status
    lines = tail(scene.home.logs / "engine.log", 20)
    failures = [line.strip() for line in lines if FAILURE.search(line)]
    restarts = status["engine"]["restarts"] if status else 0
    if restarts:
        last = f": {failures[-1]}" if failures else ""
        return Verdict(f"restarted {restarts} times{last}", "`openledger-node logs --source engine` says why")
    if status is None and failures:
        return Verdict(f"the last run ended with: {failures[-1]}", "`openledger-node logs --source engine` says more")
    return Verdict("no failure in its last words" if lines else "it has said nothing yet")
