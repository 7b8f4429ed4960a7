"""What checks look at together: each thing is looked up once, however many checks want it, and only if one does."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from ...chain.client import ChainClient
from ...chain.deployment import Deployment
from ...config import Config, load_config
from ...errors import ChainError, NodeError
from ...home import Home, is_claimed
from ...machine import Machine, look_at_machine
from ...models.bases import Base, find_base
from ...network_file import Network, current_network, is_embedded
from ...plugs import load_plug

CHAIN_TIMEOUT_S = 3.0
Value = TypeVar("Value")
Ask = Callable[[str, str], Any]  # method, path → the daemon's answer; None: it is down


class Once(Generic[Value]):
    """A value that is made by whoever asks first; others wait for it, and a failure is everybody's."""

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
    """One home, as its daemon and its files show it."""

    def __init__(self, home: Home, ask: Ask) -> None:
        self.home = home
        self._status: Once[dict[str, Any] | None] = Once(lambda: ask("GET", "/status") if is_claimed(home) else None)
        self._peers: Once[dict[str, Any] | None] = Once(
            lambda: ask("POST", "/money/peers") if is_claimed(home) else None
        )
        self._config = Once(lambda: load_config(home.config_file)[0])
        self._base = Once(lambda: find_base(home, self.config.inference.base))
        self._client = Once(self._open_client)

    @property
    def config(self) -> Config:
        """The settings.

        Raises:
            ConfigError: they are not understood.
        """
        return self._config.get()

    @property
    def status(self) -> dict[str, Any] | None:
        """What the daemon says; None: none runs.

        Raises:
            NodeError: one runs and does not answer.
        """
        return self._status.get()

    @property
    def peers(self) -> dict[str, Any] | None:
        """What the daemon says of its peers; None: none runs.

        Raises:
            NodeError: it has none, or is not on its network yet.
        """
        return self._peers.get()

    @property
    def base(self) -> Base:
        """The base that is to be served.

        Raises:
            ModelError: it is not here.
        """
        return self._base.get()

    @property
    def network(self) -> Network | None:
        """The network that this home is on.

        Raises:
            ConfigError: it is not known here, or its file is damaged.
        """
        return current_network(self.home, self.config.node.network)

    @property
    def has_own_chain(self) -> bool:
        """Whether the daemon runs the chain itself, so that there is none while it is down."""
        return is_embedded(self.home, self.config.node.network)

    @property
    def client(self) -> ChainClient:
        """The first endpoint that answers at all; whose chain it is, is another check.

        Raises:
            ChainError: none does.
        """
        return self._client.get()

    @cached_property
    def machine(self) -> Machine:
        """What this machine has."""
        return look_at_machine()

    def deployment(self) -> Deployment:
        """The network's contracts.

        Raises:
            ChainError: the chain does not answer.
        """
        network = self.network
        assert network is not None, "who asks has looked"
        return Deployment(
            self.client, chain_id=network.chain_id, addresses=network.contracts, deploy_block=network.deploy_block
        )

    def has_base(self) -> bool:
        """Whether checks that look at the base can look at one; the check of the base says what to do if not."""
        try:
            return bool(self.base)
        except NodeError:
            return False

    def close(self) -> None:
        """Let go of the chain, if it was asked."""
        if client := self._client.made:
            client.close()

    def _open_client(self) -> ChainClient:
        network = self.network
        assert network is not None, "who asks has looked"
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
