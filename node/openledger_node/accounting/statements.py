"""Statements about Datanets that the wallet signs for the page: a contributor's offer, and a curator's decision.

They cost nothing and change nothing by themselves: the owner of the Datanet gets them as a file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import check_decision, decision_typed_data
from openledger_protocol.datanet import datanet_id
from openledger_protocol.offer import check_offer, offer_typed_data
from openledger_protocol.primitives import DatanetId, check_digest, check_name

from ..datanets.held import is_datanet_id
from ..datanets.proposals import draft_decision, read_proposal
from ..datanets.registered import read_registered
from ..datanets.rows import read_rows
from ..datanets.signed import DatanetPlace, draft_batch
from ..errors import KeyFileError, NodeError
from ..home import Home
from ..keystore import WALLET, Password, find_account, is_unattended, sign_typed_data, unlock, unlock_unattended
from ..settlement.session import NetworkSession

Arguments = Mapping[str, Any]


class StatementQueries:
    """Answers questions about Datanets that need the wallet or the chain's events."""

    def __init__(self, home: Home, session: NetworkSession) -> None:
        self._home = home
        self._session = session
        self.answers = {
            "datanet_terms": lambda given: self._terms(str(given["datanet"])),
            "sign_rows": self._sign_rows,
            "sign_decision": self._sign_decision,
        }

    def _terms(self, datanet: str) -> dict[str, Any]:
        """Terms of a Datanet by its id, or by its name if the wallet owns it; curators and versions by the chain.

        Raises:
            MalformedError: it is neither an id nor a name.
        """
        wallet, network = self._session.accounts.wallet, self._session.network
        id_ = DatanetId(check_digest(datanet)) if is_datanet_id(datanet) else datanet_id(wallet, check_name(datanet))
        found = read_registered(self._session.ledger.events, id_)
        place = DatanetPlace(chain_id=network.chain_id, contract=network.contracts["DatanetRegistry"], datanet_id=id_)
        versions = found.versions if found else ()
        return {
            "id": id_,
            "is_registered": found is not None,
            "name": found.name if found else datanet,
            "owner": found.owner if found else wallet,
            "licence": found.licence if found else None,
            "description": found.about.description if found and found.about else "",
            "account": wallet,
            "place": to_plain(place),
            "curators": list(found.curators) if found else [],
            "need": found.need if found else 0,
            "versions": len(versions),
            "published": [[each.version, each.rows_root] for each in versions],
        }

    def _sign_rows(self, given: Arguments) -> dict[str, Any]:
        """Offer rows of a file to a Datanet, as the wallet's.

        Raises:
            NodeError: the Datanet is not registered here, or the file holds no rows.
            KeyFileError: the wallet is locked, and the password is missing or wrong.
        """
        terms = self._terms(str(given["datanet"]))
        if not terms["is_registered"]:
            raise NodeError(f"no Datanet {terms['id']} is registered on this network: check its id")
        account, place = self._session.accounts.wallet, DatanetPlace(**terms["place"])
        rows = read_rows(Path(given["rows"]), contributor=account)
        offer = draft_batch(rows, place, account, terms["licence"]).offer
        signed = check_offer(replace(offer, signature=self._sign(offer_typed_data(offer), given.get("password"))))
        return {"offer": to_plain(signed)}

    def _sign_decision(self, given: Arguments) -> dict[str, Any]:
        """Approve or reject a proposed version as its curator.

        Raises:
            NodeError: the file is no proposal, is for another network, or the wallet is no curator of its Datanet.
            InputError: a rejection has no reason.
            KeyFileError: the wallet is locked, and the password is missing or wrong.
        """
        proposal, account = read_proposal(Path(given["proposal"])), self._session.accounts.wallet
        terms = self._terms(proposal.datanet_id)
        if (proposal.chain_id, proposal.contract) != (terms["place"]["chain_id"], terms["place"]["contract"]):
            raise NodeError(
                f"this proposal is for chain {proposal.chain_id}, and this node is on "
                f"{self._session.network.network}: review it on a node of its network"
            )
        if account not in terms["curators"]:
            raise NodeError(
                f"{account} is not a curator of {proposal.name} ({proposal.datanet_id}): ask its owner to name you, "
                f"with `openledger-node datanet curators {proposal.name} --set A,B,C --need 2`"
            )
        draft = draft_decision(proposal, account, approves=bool(given["approves"]), reason=str(given["reason"]))
        signature = self._sign(decision_typed_data(draft), given.get("password"))
        return {"decision": to_plain(check_decision(replace(draft, signature=signature)))}

    def _sign(self, typed_data: dict[str, Any], password: str | None) -> str:
        network = self._session.network.network
        account = find_account(self._home.network_keys(network), WALLET)
        if is_unattended(network, account.name):
            key = unlock_unattended(account)
        elif password is None:
            raise KeyFileError(f"{account.name} is locked: this needs its password")
        else:
            key = unlock(account, Password(text=password))
        return sign_typed_data(key, typed_data)
