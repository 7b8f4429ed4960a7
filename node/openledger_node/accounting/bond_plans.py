"""Plans about bonds of contributors: to post one, to take it back, and to forfeit it for a rejected batch."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from openledger_protocol.bond import Forfeit, deciders_hash, forfeit_digest, reason_hash
from openledger_protocol.datanet import datanet_id
from openledger_protocol.offer import RowOffer, offer_rows_root
from openledger_protocol.primitives import (
    ZERO_DIGEST,
    Address,
    DatanetId,
    Wei,
    check_address,
    check_digest,
    wei_from_text,
)
from openledger_protocol.signatures import recover_address, signature_from_hex

from ..chain.bonds import CONTRACT, ContributorBond, ContributorBonds
from ..chain.contracts import SELECTOR_BYTES
from ..chain.refusals import open_text, time_text
from ..datanets.about import datanet_name
from ..datanets.held import is_datanet_id
from ..datanets.own import find_batch
from ..datanets.store import OwnDatanets
from ..errors import NodeError
from ..home import Home
from ..settlement.bond_actions import POST, ForfeitBond, PostBond, StartTakeBack, TakeBackBond
from ..settlement.session import NetworkSession
from ..text import duration_text
from .publishing import Planner, Publication, is_under_way

WORD_BYTES: Final = 32


def post_bond(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to post a bond for an account, or to agree again to those who can forfeit it.

    Raises:
        NodeError: there is no such Datanet, or the network takes no bonds.
        MalformedError: the account is none.
    """
    bonds, found = ContributorBonds(session.deployment), _datanet(home, session, account, arguments)
    whose = check_address(arguments["for"]) if arguments.get("for") else account
    amount_wei = wei_from_text(arguments["amount_wei"])
    deciding, held = _deciding(session, found), bonds.bond(found, whose)
    deciders = deciders_hash(*deciding)  # of those who are named below, so that the chain refuses any others
    if not amount_wei:
        if whose != account or not held.held_wei:
            raise NodeError("there is no bond to agree for: name an amount of OPEN above 0")
        if held.deciders == deciders:
            return Publication(note="this account has agreed to who can forfeit its bond already")
    elif whose != account and held.held_wei and held.deciders != deciders:
        raise NodeError(
            f"the Datanet's owner or curators have changed since {whose} posted its bond, so only {whose} can add to "
            f"it: `openledger-node datanet bond {found} 0` agrees to the new ones"
        )
    if _is_posting(session, bonds, found, whose):
        return Publication(note=f"a bond of {whose} is on its way already")
    action = PostBond(datanet_id=found, account=whose, amount_wei=amount_wei, deciders=deciders)
    return Publication(actions=(action,), details=_terms(session, found, whose, deciding))


def take_back(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to announce that a bond is taken back, or to take back what was announced.

    Raises:
        NodeError: there is no bond, or the network takes none.
    """
    bonds, found = ContributorBonds(session.deployment), _datanet(home, session, account, arguments)
    bond = bonds.bond(found, account)
    if not bond.held_wei:
        raise NodeError(f"{account} has no bond at Datanet {found}: choose its account with --wallet")
    given = arguments.get("amount_wei")
    amount_wei = bond.held_wei if given is None else wei_from_text(given)
    if bond.leaving_wei and (given is None or amount_wei == bond.leaving_wei):  # else the wait would restart
        return _finish(session, bonds, found, bond)
    if amount_wei > bond.held_wei:
        raise NodeError(f"the bond is {open_text(bond.held_wei)}, less than {open_text(amount_wei)}: name less")
    action = StartTakeBack(datanet_id=found, amount_wei=amount_wei)
    if is_under_way(session, lambda sent: sent == bonds.start_take_back(found, amount_wei)):
        return Publication(note="this announcement is on its way already")
    if not amount_wei:
        return Publication(actions=(action,), details=("nothing is leaving any more, and it stands behind batches",))
    wait, leaving = duration_text(session.windows.unbonding_s), open_text(bond.leaving_wei)
    restart = (
        (f"{leaving} is leaving already; this replaces it, and the wait starts again",) if bond.leaving_wei else ()
    )
    return Publication(
        actions=(action,),
        details=(
            *restart,
            "what is leaving stands behind no new batch, and can be forfeited until you have taken it back",
            f"run this again in {wait} to take it back",
        ),
    )


def forfeit_bond(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to forfeit the bond of the account that has signed a rejected batch.

    Raises:
        NodeError: the batch is not rejected or not signed, there is no bond, its account has not agreed to the
            present owner and curators, or too few curators have signed.
        MalformedError: an approval is no signature.
    """
    name, bonds = str(arguments["datanet"]), ContributorBonds(session.deployment)
    offer, reason = rejected_offer(OwnDatanets(home), name, str(arguments["batch"]))
    found = datanet_id(account, name)
    if (offer.datanet_id, offer.contract) != (found, session.deployment.addresses[CONTRACT]):
        raise NodeError(f"this batch was signed for another Datanet or network than {name} of {account} here")
    bond = bonds.bond(found, offer.account)
    if not bond.held_wei:
        raise NodeError(f"{offer.account} has no bond at {name}, so there is nothing to forfeit")
    if bond.deciders != bonds.deciders(found):
        raise NodeError(
            f"the owner or the curators of {name} have changed since {offer.account} posted its bond, and it has not "
            "agreed to the new ones, so nobody can forfeit it"
        )
    given = arguments.get("amount_wei")
    most_wei = Wei(bond.held_wei) if given is None else wei_from_text(given)
    approvals = _approvals(session, offer, most_wei, reason, arguments.get("approvals") or ())
    action = ForfeitBond(offer=offer, amount_max_wei=most_wei, reason=reason_hash(reason), approvals=approvals)
    call = bonds.forfeit(offer, most_wei, action.reason, approvals)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note="this forfeit is on its way already")
    return Publication(
        actions=(action,),
        details=(
            f"the money goes to the protocol's treasury, and neither you nor {name} gets any of it",
            f"everybody sees it on the chain, with the hash of the reason: {reason}",
            "it can't be undone, and happens once for each batch",
        ),
    )


BOND_PLANNERS: Final[Mapping[str, Planner]] = {
    "datanet bond": post_bond,
    "datanet unbond": take_back,
    "datanet forfeit": forfeit_bond,
}


def rejected_offer(own: OwnDatanets, name: str, beginning: str) -> tuple[RowOffer, str]:
    """The offer of a rejected batch, and the reason.

    Raises:
        NodeError: there is no such batch, it is not rejected, or its contributor has not signed it.
    """
    datanet = own.get(name)
    batch = find_batch(datanet, beginning)
    if not batch.gate.rejected_because:
        raise NodeError(
            f"batch {batch.digest[:10]} is not rejected, and a bond pays for rejected batches only: "
            f"`openledger-node datanet reject {name} {batch.digest[:10]} --because TEXT`"
        )
    offer = own.offers_of(datanet, only_approved=False).get(batch.digest)
    if offer is None:
        raise NodeError(f"nobody has signed batch {batch.digest[:10]}, so no bond stands behind it")
    return offer, batch.gate.rejected_because


def _datanet(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> DatanetId:
    """The id of a Datanet, by its id or by the name under which it is owned here."""
    given = str(arguments["datanet"])
    if is_datanet_id(given):
        found = DatanetId(check_digest(given))
    else:
        found = datanet_id(account, OwnDatanets(home).get(given).name)
    if session.deployment.datanet(found) is None:
        raise NodeError(f"no Datanet {found} is registered on this network: check its id")
    return found


def _deciding(session: NetworkSession, found: DatanetId) -> tuple[Address, tuple[Address, ...], int]:
    """The owner and the curators who can forfeit bonds, and how many of the curators it takes."""
    terms = session.deployment.datanet(found)
    assert terms is not None, "its registration was checked before"
    return terms.owner, *session.deployment.curators_of(found)


def _terms(
    session: NetworkSession, found: DatanetId, whose: Address, deciding: tuple[Address, tuple[Address, ...], int]
) -> tuple[str, ...]:
    """Terms of a bond before it is posted: who can forfeit it, for what, and the way back."""
    owner, curators, need = deciding
    name = datanet_name(session.ledger.events, found) or found
    decides = f"its owner {owner}"
    if need:
        decides += f" with the signatures of {need} of {', '.join(curators)}"
    wait = duration_text(session.windows.unbonding_s)
    return (
        f"all of it can be forfeited for a batch that {whose} has signed for Datanet {name}",
        f"the decision is with {decides}, and with nobody who comes later",
        "what is forfeited goes to the protocol's treasury, never to them",
        f"the rest stays the money of {whose}, who takes it back with `openledger-node datanet unbond {found}` and "
        f"the same command again {wait} later",
    )


def _finish(session: NetworkSession, bonds: ContributorBonds, found: DatanetId, bond: ContributorBond) -> Publication:
    if session.client.head().timestamp_s < bond.ready_at_s:
        return Publication(
            note=f"{open_text(bond.leaving_wei)} of it is leaving, and free at {time_text(bond.ready_at_s)}: run "
            "this again then"
        )
    if is_under_way(session, lambda sent: sent == bonds.take_back(found)):
        return Publication(note="the bond is on its way back already")
    return Publication(actions=(TakeBackBond(datanet_id=found, amount_wei=bond.leaving_wei),))


def _is_posting(session: NetworkSession, bonds: ContributorBonds, found: DatanetId, whose: Address) -> bool:
    """True if a post for this account waits to be mined; the rest can't be compared, because permits differ."""
    call = bonds.post(found, whose, Wei(0), ZERO_DIGEST, None)
    words = slice(SELECTOR_BYTES, SELECTOR_BYTES + 2 * WORD_BYTES)  # other calls begin with the same two
    return any(
        (sent.kind, sent.call.to, sent.call.data[words]) == (POST, call.to, call.data[words])
        for sent in (each.intent for each in session.ledger.outbox.unfinished())
    )


def _approvals(
    session: NetworkSession, offer: RowOffer, most_wei: Wei, reason: str, given: Sequence[str]
) -> tuple[bytes, ...]:
    """The signatures of curators in the order of their addresses.

    Raises:
        NodeError: one is not a curator's, or there are too few.
        MalformedError: one is no signature.
    """
    curators, need = session.deployment.curators_of(offer.datanet_id)
    digest = forfeit_digest(
        Forfeit(
            chain_id=offer.chain_id,
            contract=offer.contract,
            datanet_id=offer.datanet_id,
            account=offer.account,
            rows_root=offer_rows_root(offer.rows),
            amount_max_wei=most_wei,
            reason=reason_hash(reason),
        )
    )
    signed = {recover_address(digest, each): each for each in _signatures(given)}
    if strangers := signed.keys() - set(curators):
        raise NodeError(
            f"{min(strangers)} is no curator of this Datanet, or has signed another amount, reason or batch: ask for "
            "the approval again"
        )
    if len(signed) < need:
        most = open_text(most_wei).removesuffix(" OPEN").replace(",", "")
        raise NodeError(
            f"this needs the signatures of {need} of the {len(curators)} curators, and {len(signed)} are given: send "
            f"each of them the signed batch, for `openledger-node datanet sign-forfeit FILE --most {most} --because "
            f"{shlex.quote(reason)}`, and give what that prints with --approval"
        )
    return tuple(signed[each] for each in sorted(signed, key=str.lower))


def _signatures(given: Iterable[str]) -> list[bytes]:
    return [signature_from_hex(each.strip(), "an approval") for each in given]
