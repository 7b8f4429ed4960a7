"""Changes of a Datanet that is owned here: accounts of contributors, withdrawn rows, and published versions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, check_address, check_name

from ..errors import NodeError
from .own import Datanet, Published
from .rows import check_contributor
from .version import DatanetVersion, account_of


def name_accounts(datanet: Datanet, accounts: Mapping[str, Address]) -> Datanet:
    """Set the addresses at which named contributors are paid.

    Raises:
        NodeError: a published version pays one of them at another address.
        MalformedError: a name or an address is invalid.
    """
    checked = {check_contributor(check_name(name)): check_address(address) for name, address in accounts.items()}
    for name, address in checked.items():
        if account_of(name, {}) != ZERO_ADDRESS:
            raise MalformedError(f"{name} is an address and is paid there: it can't have another one")
        if datanet.versions and datanet.accounts.get(name, address) != address:
            raise NodeError(
                f"{name} is paid at {datanet.accounts[name]} by a published version of {datanet.name}: "
                "use another contributor name in new rows"
            )
    return replace(datanet, accounts={**datanet.accounts, **checked})


def withdraw(datanet: Datanet, digests: Iterable[Digest]) -> Datanet:
    """Leave rows out of all later versions, for good; those that were withdrawn before keep their place."""
    gone = set(datanet.withdrawn)
    new = dict.fromkeys(digest for digest in digests if digest not in gone)
    return replace(datanet, withdrawn=(*datanet.withdrawn, *new)) if new else datanet


def note_version(datanet: Datanet, version: DatanetVersion, num_batches: int, num_withdrawn: int = 0) -> Datanet:
    """Add a version of the first `num_batches` approved batches without the first `num_withdrawn` withdrawn rows.

    Adding it twice changes nothing but the number of batches that lead to the same rows.

    Raises:
        NodeError: another version has taken this name meanwhile.
    """
    noted = Published(
        version=version.version,
        batches=num_batches,
        rows=len(version.rows),
        rows_root=version.rows_root,
        contributors_root=version.contributors_root,
        withdrawn=num_withdrawn,
    )
    named = [each for each in datanet.versions if each.version == noted.version]
    if any(_roots(each) == _roots(noted) for each in named):  # once, also if a withdrawal has led back to it
        return _note_same(datanet, noted)
    if named:
        raise NodeError(
            f"another version {noted.version} of {datanet.name} was published meanwhile: run the command again"
        )
    return replace(datanet, versions=(*datanet.versions, noted))


def _note_same(datanet: Datanet, noted: Published) -> Datanet:
    """Note that batches which were approved after the last version add no row to it.

    `batches` stays, because commitments are compared with what a version held when it was published.
    """
    *before, last = datanet.versions
    if _roots(last) != _roots(noted) or noted.batches <= max(last.batches, last.same_until):
        return datanet
    return replace(datanet, versions=(*before, replace(last, same_until=noted.batches)))


def _roots(version: Published) -> tuple[Digest, Digest]:
    return version.rows_root, version.contributors_root
