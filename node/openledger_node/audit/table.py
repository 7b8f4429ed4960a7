"""A report for people: one row a line, then what is wrong and what was given away."""

from collections.abc import Iterator

from .report import Report

GAP = "  "


def render_report(report: Report) -> str:
    """Columns as wide as what stands in them."""
    rows = [("line", "left wei", "right wei", "")]
    rows += [(line.id, f"{line.left:,}", f"{line.right:,}", "ok" if line.holds else "NO") for line in report.lines]
    id_width, left_width, right_width = (max(len(row[column]) for row in rows) for column in range(3))
    table = [
        GAP.join([id_.ljust(id_width), left.rjust(left_width), right.rjust(right_width), mark]).rstrip()
        for id_, left, right, mark in rows
    ]
    return "\n".join([f"{report.network} at block {report.block}", "", *table, "", *_remarks(report)])


def _remarks(report: Report) -> Iterator[str]:
    for line in report.lines:
        if not line.holds:
            yield f"{line.id} does not hold: {line.meaning}"
    yield from report.faults
    for name, amount in report.donations.items():
        yield f"given to {name} for nothing: {amount:,} wei"
    yield "every line holds to the wei" if report.holds else "it does not hold"
