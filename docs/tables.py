"""Figures of three seeds become markdown tables, and tables find their places in docs/results.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Columns = Mapping[str, tuple[str, int]]  #: by figure: its heading, and the digits behind the point

BEAM: Columns = {
    "top1": ("top-1", 3),
    "top3": ("top-3", 3),
    "dba": ("DBA", 3),
    "power_loss_db": ("power loss (dB)", 2),
}


def markdown(heading: str, rows: Mapping[str, Sequence[Mapping[str, float]]], columns: Columns) -> str:
    """A line a row, `rows` being the figures of each seed by name: mean ± standard deviation, "-" for what is not known."""
    lines = [f"| {heading} | {' | '.join(title for title, _ in columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, seeds in rows.items():
        cells = [_cell([seed.get(figure, np.nan) for seed in seeds], digits) for figure, (_, digits) in columns.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def place(page: Path, name: str, table: str) -> None:
    """Puts `table` where `page` says <!-- name -->, up to the next <!-- end -->. Raises ValueError if the page has no such place."""
    text, found = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{table}\n{match[2]}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if not found:
        raise ValueError(f"{page} has no lines '<!-- {name} -->' and '<!-- end -->'; add them where the table shall stand")
    page.write_text(text)


def _cell(values: Sequence[float], digits: int) -> str:
    if not np.isfinite(values).all():
        return "-"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"
