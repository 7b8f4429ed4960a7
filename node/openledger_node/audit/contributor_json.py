"""A contributor's report as JSON, and its sums by day, Datanet and adapter."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from openledger_protocol.payouts import CreditRole
from openledger_protocol.settlement import Payout

from ..text import rfc3339
from .awards import PENDING, AwardState, ContributorReport, PayingDatanet, PayoutAward

ROLE_NAMES = {
    CreditRole.NODE: "node",
    CreditRole.OWNER: "owner",
    CreditRole.CONTRIBUTOR: "contributor",
    CreditRole.TREASURY: "treasury",
    CreditRole.PROTOCOL: "protocol",
}


def contributor_to_json(report: ContributorReport) -> dict[str, Any]:
    """The object that `contributor show --json` prints, with wei as decimal strings."""
    return {
        "network": report.network.network,
        "account": report.account,
        "block": report.block,
        "block_hash": report.block_hash,
        "block_time": rfc3339(report.time_s),
        "num_endpoints": report.num_endpoints,
        "holds": report.holds,
        "faults": list(report.faults),
        "balance_wei": str(report.balance_wei),
        "pending_wei": str(report.sum_wei(*PENDING)),
        "final_wei": str(report.sum_wei(AwardState.FINAL)),
        "lapsed_wei": str(report.sum_wei(AwardState.LAPSED)),
        "other_wei": str(sum(each.amount_wei for each in report.others)),
        "withdrawn_wei": str(report.withdrawn_wei),
        "days": days_of(report),
        "datanets": _sums(report, "datanet_id", lambda award: award.datanet_id),
        "adapters": _sums(report, "adapter_id", lambda award: award.adapter_id),
        "payouts": [_award(award, report) for award in report.awards],
        "lists": _lists(report),
        "others": [
            {
                "node": each.node,
                "seq": each.seq,
                "role": ROLE_NAMES[each.role],
                "amount_wei": str(each.amount_wei),
                "credited_at": rfc3339(each.credited_at_s),
                "transaction": each.transaction,
            }
            for each in report.others
        ],
        "withdrawals": [
            {
                "to": each.to,
                "amount_wei": str(each.amount_wei),
                "withdrawn_at": rfc3339(each.withdrawn_at_s),
                "transaction": each.transaction,
            }
            for each in report.withdrawals
        ],
    }


def days_of(report: ContributorReport) -> list[dict[str, Any]]:
    """Sums of each UTC day on which something became final or was withdrawn, the oldest first."""
    sums: dict[str, Counter[str]] = {}
    for award in report.awards:
        if award.state is AwardState.FINAL and award.credited_at_s is not None:
            sums.setdefault(_day(award.credited_at_s), Counter())["final_wei"] += award.amount_wei
    for credit in report.others:
        sums.setdefault(_day(credit.credited_at_s), Counter())["other_wei"] += credit.amount_wei
    for each in report.withdrawals:
        sums.setdefault(_day(each.withdrawn_at_s), Counter())["withdrawn_wei"] += each.amount_wei
    names = ("final_wei", "other_wei", "withdrawn_wei")
    return [{"day": day, **{name: str(found[name]) for name in names}} for day, found in sorted(sums.items())]


def _day(at_s: int) -> str:
    return rfc3339(at_s)[:10]


def _sums(report: ContributorReport, name: str, key_of: Callable[[PayoutAward], str]) -> list[dict[str, Any]]:
    found = []
    for key in dict.fromkeys(map(key_of, report.awards)):
        awards = [award for award in report.awards if key_of(award) == key]
        row: dict[str, Any] = {name: key}
        if name == "datanet_id":
            row |= asdict(report.datanets.get(awards[0].datanet_id, PayingDatanet()))
        row["final_wei"] = str(sum(each.amount_wei for each in awards if each.state is AwardState.FINAL))
        row["pending_wei"] = str(sum(each.amount_wei for each in awards if each.state in PENDING))
        row["num_shown_answers"] = len({answer.digest for each in awards for answer in each.answers or ()})
        found.append(row)
    return found


def _award(award: PayoutAward, report: ContributorReport) -> dict[str, Any]:
    return {
        "node": award.node,
        "seq": award.seq,
        "epoch": award.epoch,
        "pot": award.pot,
        "adapter_id": award.adapter_id,
        "datanet_id": award.datanet_id,
        "datanet": report.datanets.get(award.datanet_id, PayingDatanet()).name,
        "state": award.state.value,
        "amount_wei": str(award.amount_wei),
        "weight": str(award.weight),
        "pot_gross_wei": str(award.pot_gross_wei),
        "pot_wei": str(award.pot_wei),
        "claimed_at": rfc3339(award.claimed_at_s),
        "review_ends_at": rfc3339(award.ready_at_s),
        "late_at": rfc3339(award.late_at_s),
        "credited_at": None if award.credited_at_s is None else rfc3339(award.credited_at_s),
        "shown_answers": None
        if award.answers is None
        else [_answer(award, index, report) for index in range(len(award.answers))],
        "list_hash": award.list_hash,
        "transactions": dict(award.transactions),
    }


def _answer(award: PayoutAward, index: int, report: ContributorReport) -> dict[str, Any]:
    assert award.answers is not None
    answer = award.answers[index]
    ppm = sum(
        share.ppm
        for share in answer.shares
        if share.account == report.account and share.datanet_id == award.datanet_id
    )
    return {
        "receipt": answer.digest,
        "issued_at": rfc3339(answer.receipt.issued_at_s),
        "amount_wei": str(answer.receipt.amount_wei),
        "share_ppm": ppm,
    }


def _lists(report: ContributorReport) -> list[dict[str, Any]]:
    """The payout list of each claim: hashed, it is the proof of this account's lines."""
    lists = {(award.node, award.seq): award for award in report.awards}
    return [
        {
            "node": node,
            "seq": seq,
            "hash": award.list_hash,
            "payouts": [_payout(payout) for payout in award.payouts],
        }
        for (node, seq), award in lists.items()
    ]


def _payout(payout: Payout) -> dict[str, Any]:
    return {"pot": payout.pot, "account": payout.account, "weight": str(payout.weight)}
