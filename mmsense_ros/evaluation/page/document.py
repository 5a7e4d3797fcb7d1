"""The parts of a page. Words are escaped here, whoever wrote them; `body` is HTML that other parts made."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mmsense_ros.evaluation.page.chart import Chart, Runs

CSS = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing is fetched, nothing is run


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


def document(title: str, lead: str, body: Iterable[str]) -> str:
    """A whole page: its title, one sentence under it, and the parts."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{CSS.read_text()}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>
{"".join(body)}</main>
</body>
</html>
"""


def section(title: str, body: Iterable[str], lead: str = "", kind: str = "grid") -> str:
    """Parts under a heading, in columns unless `kind` is "stack"."""
    words = f"<p class=lead>{escape(lead)}</p>" if lead else ""
    return f"<section><h2>{escape(title)}</h2>{words}<div class={kind}>{''.join(body)}</div></section>\n"


def tiles(parts: Iterable[Tile]) -> str:
    """Headline figures in a row."""
    cells = (
        f"<div class=tile><div class=label>{escape(tile.label)}</div>"
        f"<div class=value>{escape(tile.value)}<span>{escape(tile.unit)}</span></div>"
        f"<div class=note>{escape(tile.note)}</div></div>"
        for tile in parts
    )
    return f"<div class=tiles>{''.join(cells)}</div>\n"


def chart_card(chart: Chart, runs: Runs) -> str:
    """A chart with its caption, or a sentence that says why there is none."""
    lacking = chart.lacking(runs)
    body = f"<p class=lacking>{escape(lacking)}</p>" if lacking else chart.svg(runs)
    kind = "card wide" if chart.wide else "card"
    caption = f"<figcaption>{escape(chart.caption)}</figcaption>"
    return f'<figure class="{kind}"><h3>{escape(chart.title)}</h3>{body}{caption}</figure>\n'


def picture_card(jpeg: bytes, title: str, caption: str) -> str:
    """A JPEG inside the page."""
    source = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    words = f"<figcaption><b>{escape(title)}</b> {escape(caption)}</figcaption>"
    return f'<figure class="card picture"><img alt="{escape(f"{title} {caption}")}" src="{source}">{words}</figure>\n'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = ()) -> str:
    """Words in the first column, figures in the others; `total` closes it."""

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr><th>{escape(cells[0])}</th>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells[1:])}</tr>"

    foot = f"<tfoot>{line(total, 'td')}</tfoot>" if total else ""
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="card scroll"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody>{foot}</table></div>\n'
