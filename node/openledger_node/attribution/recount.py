"""Shares of a receipt, computed again from its texts and the rows that its adapter was trained on."""

from collections.abc import Callable
from functools import cached_property

from openledger_protocol.attribution import Share
from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import Message
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Receipt
from openledger_protocol.primitives import BASE_ONLY

from ..engine.tokenizer import Tokenizer, open_tokenizer
from ..errors import NodeError
from ..home import Home
from ..models.adapters import Adapter
from ..models.bases import Base
from ..models.library import AdapterLibrary
from .registry import AdapterRegistry, Registered
from .service import exchange_of, open_attributor, registered_shares
from .signal_checks import NotCheckedError, check_shares_follow, check_signals_replay


class NotHereError(NodeError):
    """Shares can't be computed here; the message says what is missing."""


class ShareRecount:
    """Computes what a receipt's shares should be, to the integer, as every other node would."""

    def __init__(self, home: Home, registry: AdapterRegistry, find_base: Callable[[], Base]) -> None:
        self._library = AdapterLibrary(home)
        self._registry = registry
        self._find_base = find_base
        self._attributor = open_attributor()

    @cached_property
    def _base(self) -> Base:
        return self._find_base()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self._base.folder)

    def shares_of(self, receipt: Receipt, prompt: tuple[Message, ...] | str, answer: str) -> tuple[Share, ...]:
        """The shares that the rule gives for an exchange, ascending by Datanet and account.

        Raises:
            NotHereError: adapter, rows, base or rule are not here.
        """
        if receipt.adapter_id == BASE_ONLY:
            return ()
        if receipt.algo_id != self._attributor.algo_id:
            raise NotHereError(
                f"its shares are by rule {receipt.algo_id}, and only those of rule {self._attributor.algo_id} follow "
                "from its texts alone"
            )
        _, registered = self._registered(receipt)
        return registered_shares(self._attributor, registered, exchange_of(prompt, answer, self._tokenizer))

    def check_signals(self, receipt: Receipt, shares: tuple[Share, ...], opening: Opening) -> str:
        """Check the shares of a receipt by poa-v3, and say what agreed.

        Raises:
            NotHereError: adapter, rows or base are not here.
            NotCheckedError: they are right as far as could be checked; the message names the rest.
            WrongSharesError: they are wrong.
        """
        adapter, registered = self._registered(receipt)
        unchecked: NotCheckedError | None = None
        try:
            check_shares_follow(shares, opening, registered, self._tokenizer)
        except NotCheckedError as error:
            unchecked = error
        said = check_signals_replay(
            shares,
            opening,
            receipt.work.profile_hash,
            adapter,
            registered,
            self._tokenizer,
            self._registry.source,
        )
        if unchecked:
            raise unchecked
        return said

    def _registered(self, receipt: Receipt) -> tuple[Adapter, Registered]:
        adapter = self._adapter(receipt)
        try:
            self._registry.check_complete(receipt.issued_at_s)
            return adapter, self._registry.find_at(adapter, receipt.issued_at_s)
        except ProtocolError as error:
            raise NotHereError(f"the rows of {adapter.full_name} can't be used here: {error.message}") from error

    def _adapter(self, receipt: Receipt) -> Adapter:
        found = self._library.with_id(receipt.adapter_id)
        if found is None:
            raise NotHereError(
                f"adapter {receipt.adapter_id} is not here: `openledger-node adapters pull {receipt.adapter_id}` "
                "gets it from peers, if the node is running"
            )
        if found.manifest.base.digest != self._base.digest:
            raise NotHereError(
                f"{found.full_name} is for base {found.manifest.base.name}, and this node runs {self._base.name}: "
                "compute its shares on a node with that base"
            )
        return found
