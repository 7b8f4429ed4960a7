"""Facts that several checks share, each looked up once, and only if a check needs it."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ...config import Config, load_config
from ...errors import ChainError, NodeError
from ...home import Home, is_claimed
from ...machine import Machine, look_at_machine
from ...models.bases import Base, find_base
from ...network_file import Network, current_network, is_embedded
from ...plugs import load_plug
from .finding import Finding

if TYPE_CHECKING:
    from ...chain.client import ChainClient
    from ...chain.deployment import Deployment
    from ...engine.choose import BackendChoice

CHAIN_TIMEOUT_S = 3.0
Value = TypeVar("Value")
Ask = Callable[[str, str], Any]  # method, path → the daemon's answer; None: it is down


class Once(Generic[Value]):
    """A value made by the first thread that asks; others wait for it, and all get the same value or error."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._error: Exception | None = None
        self._is_made = False

    @property
    def made(self) -> Value | None:
        """The value, if it was made."""
        return self._value

    def get(self) -> Value:
        """The value."""
        with self._lock:
            if not self._is_made:
                try:
                    self._value = self._make()
                except Exception as error:
                    self._error = error
                self._is_made = True
        if self._error:
            raise self._error
        return cast(Value, self._value)


class Scene:
    """One data directory, as its daemon and its files show it."""

    def __init__(self, home: Home, ask: Ask) -> None:
        self.home = home
        self._status: Once[dict[str, Any] | None] = Once(lambda: ask("GET", "/status") if is_claimed(home) else None)
        self._peers: Once[dict[str, Any] | None] = Once(
            lambda: ask("POST", "/money/peers") if is_claimed(home) else None
        )
        self._told: Once[dict[str, Any] | None] = Once(
            lambda: ask("POST", "/doctor/chain") if is_claimed(home) else None
        )
        self._config = Once(lambda: load_config(home.config_file)[0])
        self._base = Once(lambda: find_base(home, self.config.inference.base))
        self._client = Once(self._open_client)
        self._backend = Once(self._choose_backend)

    @property
    def config(self) -> Config:
        """The settings.

        Raises:
            ConfigError: they are invalid.
        """
        return self._config.get()

    @property
    def status(self) -> dict[str, Any] | None:
        """The daemon's status; None if no daemon runs.

        Raises:
            NodeError: a daemon runs and does not answer.
        """
        return self._status.get()

    @property
    def peers(self) -> dict[str, Any] | None:
        """The daemon's answer about its peers; None if no daemon runs.

        Raises:
            NodeError: it has no peers, or is not on its network yet.
        """
        return self._peers.get()

    def told(self, name: str) -> Finding | None:
        """The running daemon's own finding of a check; None if it makes none, and this process must look."""
        try:
            answer = self._told.get() or {}
        except NodeError:  # it does not answer in time
            return None
        return next((Finding(**each) for each in answer.get("checks", ()) if each["check"] == name), None)

    @property
    def base(self) -> Base:
        """The chosen base model.

        Raises:
            ModelError: it is not on this machine.
        """
        return self._base.get()

    @property
    def backend(self) -> "BackendChoice":
        """The backend for the base; the file's header is read for it, which takes a tenth of a second.

        Raises:
            ModelError: the base is not on this machine, or its file can't be read.
        """
        return self._backend.get()

    @property
    def network(self) -> Network | None:
        """The network of this data directory.

        Raises:
            ConfigError: it is unknown here, or its file is damaged.
        """
        return current_network(self.home, self.config.node.network)

    @property
    def has_own_chain(self) -> bool:
        """True if the daemon runs the chain itself, so that there is none while it is down."""
        return is_embedded(self.home, self.config.node.network)

    @property
    def client(self) -> "ChainClient":
        """The first endpoint that answers; another check compares its chain.

        Raises:
            ChainError: none answers.
        """
        return self._client.get()

    @cached_property
    def machine(self) -> Machine:
        """The machine's memory and GPU, without what the running engine holds."""
        try:
            status = self.status
        except NodeError:  # the check `daemon` reports it
            status = None
        held_bytes = status["engine"].get("card_bytes", 0) if status else 0
        return look_at_machine().without(held_bytes)

    def deployment(self) -> "Deployment":
        """The network's contracts.

        Raises:
            ChainError: the chain does not answer.
        """
        from ...chain.deployment import Deployment  # a third of a second, and only a chain that answers needs it

        network = self.network
        assert network is not None, "the caller has checked it"
        return Deployment(
            self.client, chain_id=network.chain_id, addresses=network.contracts, deploy_block=network.deploy_block
        )

    def has_base(self) -> bool:
        """True if the base is here; the check `base` reports if it is not."""
        try:
            return bool(self.base)
        except NodeError:
            return False

    def close(self) -> None:
        """Close the chain client, if one was opened."""
        if client := self._client.made:
            client.close()

    def _choose_backend(self) -> "BackendChoice":
        from ...engine.choose import choose_backend

        return choose_backend(self.config.inference, self.base)

    def _open_client(self) -> "ChainClient":
        network = self.network
        assert network is not None, "the caller has checked it"
        refused = []
        for url in [self.config.chain.rpc] if self.config.chain.rpc else network.rpc:
            client: ChainClient = load_plug("chain", "evm")(url, timeout_s=CHAIN_TIMEOUT_S)
            try:
                client.chain_id()
                return client
            except ChainError as error:
                client.close()
                refused.append(str(error))
        raise ChainError("; ".join(refused) or "network.json names no endpoint")
