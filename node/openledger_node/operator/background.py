"""The node as a service of its owner's account: one systemd user unit on Linux, one launchd agent on macOS."""

import hashlib
import os
import plistlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError, InputError, KeyFileError, NodeError
from ..home import HOME_VARIABLE, CommandRunningError, Home, find_holder, usual_folder, write_private

PROGRAM: Final = "openledger-node"
MARK: Final = "Written by `openledger-node service install`, which replaces this file."
ASK_S, STOP_S = 20.0, 4000.0  # a stop may wait for an hour of [node] drain_grace_s
STOP_MARGIN_S: Final = 90.0  # beyond the grace of running answers: for last receipts, the engine and the own chain
ABSENT: Final = 127  # exit code of a command that is not installed, as a shell has it
UNKNOWN_SERVICE: Final = 113  # exit code of `launchctl print` for an agent that is not loaded
FINAL_STATUS: Final = (InputError.exit_code, ConfigError.exit_code, KeyFileError.exit_code)
"""Exit codes after which only the owner can help, and no other start."""

UNIT: Final = """\
# {mark}
# Your own changes: systemctl --user edit {name}

[Unit]
Description=OpenLedger node
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# Each step of a start that the node tells gives it as long again.
TimeoutStartSec=900
TimeoutStopSec={stop_s}
WatchdogSec=120
TimeoutAbortSec=10
# `openledger-node stop` ends with 0, after which nothing starts it again.
Restart=on-failure
# systemd before 254 always waits the shortest time.
RestartSec=10
RestartSteps=5
RestartMaxDelaySec=120
# Only the owner can help then.
RestartPreventExitStatus={final}
# The node ends its engine and its chain. What is left after it is killed.
KillMode=mixed
# A core file would hold prompts and keys.
LimitCORE=0
UMask=0077

[Install]
WantedBy=default.target
"""

ABSENT_HELP: Final = (
    "On a machine with systemd, log in as the node's user (`su` and `sudo` open no session). In WSL, write `[boot]` "
    "and `systemd=true` into /etc/wsl.conf and run `wsl --shutdown`. In a container, let its restart policy run "
    "`openledger-node start`. Elsewhere, have your init system run that command"
)

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The service of one data directory: its file, and the commands of the manager that runs it."""

    name: str
    file: Path
    show: Words  # tells the service's process, and fails where the manager does not run for this user
    load: tuple[Words, ...]  # enables and starts the service
    unload: Words  # stops it, waits for its end and disables it
    start: Words
    follow: Words  # shows its log


def service_of(home: Home) -> Service:
    """The service of a data directory, by the manager of this operating system."""
    digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:8]
    name = PROGRAM if home.root == usual_folder().resolve() else f"{PROGRAM}-{digest}"
    if sys.platform == "darwin":
        domain, library = f"gui/{os.getuid()}", Path.home() / "Library"
        file = library / "LaunchAgents" / f"{name}.plist"
        return Service(
            name=name,
            file=file,
            show=("launchctl", "print", f"{domain}/{name}"),
            load=(("launchctl", "bootstrap", domain, str(file)),),
            unload=("launchctl", "bootout", f"{domain}/{name}"),
            start=("launchctl", "kickstart", f"{domain}/{name}"),
            follow=("tail", "-F", str(library / "Logs" / f"{name}.log")),
        )
    folder, ctl = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"), ("systemctl", "--user")
    return Service(
        name=name,
        file=folder / "systemd" / "user" / f"{name}.service",
        show=(*ctl, "show", name, "--property=MainPID"),
        load=((*ctl, "daemon-reload"), (*ctl, "enable", name), (*ctl, "start", "--no-block", name)),
        unload=(*ctl, "disable", "--now", name),
        start=(*ctl, "start", name),
        follow=("journalctl", "--user", "-u", name, "-f"),
    )


def unit_text(name: str, command: Words, stop_s: int) -> str:
    """The systemd unit, for systemd 240 or newer."""
    line, final = " ".join(map(_quoted, command)), " ".join(map(str, FINAL_STATUS))
    return UNIT.format(mark=MARK, name=name, command=line, stop_s=stop_s, final=final)


def _quoted(word: str) -> str:
    """Quote one word of a unit's command, in which `%` and `$` would begin a variable."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'


def agent_text(name: str, command: Words, stop_s: int, log: str) -> str:
    """The property list of launchd, which starts an agent again unless it has ended with 0."""
    fields = {
        "Label": name,
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": stop_s,
        "ProcessType": "Interactive",
        "StandardErrorPath": log,
        "Umask": 0o077,
    }
    head, _, rest = plistlib.dumps(fields, sort_keys=False).decode().partition("<plist")
    return f"{head}<!-- {MARK} -->\n<plist{rest}"


def start_command(home: Home, argv0: str = sys.argv[0]) -> Words:
    """The absolute command that starts this node. A link to the program stays a link: an update changes its target.

    Raises:
        ConfigError: a path holds a character that no service file can hold.
    """
    found = Path(shutil.which(argv0) or argv0)
    program = (str(found.absolute()),) if found.name == PROGRAM else (sys.executable, "-m", "openledger_node")
    command = (*program, "--home", str(home.root), "start", "--quiet", "--no-hello")
    if re.search(r"[\x00-\x1f\x7f]", "".join(command)):
        raise ConfigError(
            f"{str(home.root)!r} or the program's path holds a control character, which no service file can hold: "
            f"rename the folder, or set {HOME_VARIABLE} to another"
        )
    return command


def plan_service(home: Home, service: Service, *, drain_grace_s: float) -> str:
    """Check that the service can be installed, and return the text of its file.

    Raises:
        ConfigError: the manager does not run here, the node runs outside its service, or the file is not ours.
    """
    if os.geteuid() == 0 and (user := os.environ.get("SUDO_USER")):
        raise ConfigError(f"this would install a service of root: run it without sudo, as {user}")
    shown = ask_manager(service)
    _check_ours(service, "move it away, and try again")
    holder = find_holder(home)
    if holder and not holder.is_daemon:
        raise CommandRunningError(holder)
    process = re.search(r"(?:MainPID=|pid = )(\d+)", shown.stdout)
    if holder and (process is None or str(holder.process) != process[1]):
        raise ConfigError(
            f"the node runs here without the service (process {holder.process or 'unknown'}): stop it with "
            "`openledger-node stop`, and install the service again"
        )
    command, stop_s = start_command(home), round(drain_grace_s + STOP_MARGIN_S)
    if sys.platform == "darwin":
        return agent_text(service.name, command, stop_s, service.follow[-1])
    return unit_text(service.name, command, stop_s)


def install_service(service: Service, text: str) -> None:
    """Write the file and start the service; one that is installed is stopped first, and its answers finish.

    Raises:
        NodeError: the disk or the manager refuses.
    """
    if service.file.exists():
        _unload(service)
    write_private(service.file, text, is_new=False)
    for words in service.load:
        _must_run(words)


def remove_service(service: Service) -> None:
    """Stop the service, wait for its end, and remove its file.

    Raises:
        ConfigError: the file is not ours.
        NodeError: the manager refuses.
    """
    _check_ours(service, "remove it yourself")
    _unload(service)
    service.file.unlink()


def _unload(service: Service) -> None:
    if run_command(service.show, ASK_S).returncode != UNKNOWN_SERVICE:
        _must_run(service.unload)


def ask_manager(service: Service) -> "subprocess.CompletedProcess[str]":
    """The service manager's answer about the service, which need not be installed.

    Raises:
        ConfigError: there is none for this user; the message says what to do instead.
    """
    found = run_command(service.show, ASK_S)
    if found.returncode in (0, UNKNOWN_SERVICE):
        return found
    if sys.platform == "darwin":
        raise ConfigError("launchd has no session of this user: log in on the machine's screen, and try again")
    if found.returncode == ABSENT:
        raise ConfigError(f"there is no systemd on this machine. {ABSENT_HELP}")
    raise ConfigError(f"systemd does not run for this user ({_lines_of(found)[0]}). {ABSENT_HELP}")


def run_command(words: Words, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run a command of the system.

    Raises:
        NodeError: it does not answer in time.
    """
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, ABSENT, "", f"{words[0]} is not installed")
    except subprocess.TimeoutExpired as error:
        line = " ".join(words)
        raise NodeError(f"`{line}` has not ended after {timeout_s:.0f} s: run it yourself to see why") from error


def _must_run(words: Words) -> None:
    found = run_command(words, STOP_S)
    if found.returncode:
        raise NodeError(f"`{' '.join(words)}` has failed ({_lines_of(found)[-1]})")


def _lines_of(failed: "subprocess.CompletedProcess[str]") -> list[str]:
    return (failed.stderr or failed.stdout).strip().splitlines() or [f"status {failed.returncode}"]


def _check_ours(service: Service, advice: str) -> None:
    if service.file.exists() and MARK not in service.file.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{service.file} is not from `openledger-node service install`: {advice}")
