"""Draws the tables of a page of figures: `plot.py docs/benchmarks/latest.md` makes latest.png.

Needs matplotlib, which `make peers` installs beside the tools that are compared.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

_NUMBER = re.compile(r"\**([0-9.]+)")
#: By step, the seconds of each tool.
Rows = dict[str, dict[str, float]]


def main() -> int:
    """Draw every table that has seconds, one below the other."""
    page = Path(sys.argv[1])
    tables = {title: rows for title, rows in _tables(page.read_text("utf-8")) if rows}
    heights = [1 + 0.22 * sum(map(len, rows.values())) for rows in tables.values()]
    figure, axes = pyplot.subplots(
        len(tables), figsize=(9, sum(heights)), height_ratios=heights, squeeze=False
    )
    for axis, (title, rows) in zip(axes[:, 0], tables.items(), strict=True):
        _draw(axis, title, rows)
    figure.tight_layout()
    figure.savefig(page.with_suffix(".png"), dpi=110)
    return 0


def _draw(axis: pyplot.Axes, title: str, rows: Rows) -> None:
    tools = list(dict.fromkeys(tool for row in rows.values() for tool in row))
    places: dict[str, list[tuple[float, float]]] = {tool: [] for tool in tools}
    ticks, at = [], 0.0
    for row in rows.values():
        ticks.append(at + (len(row) - 1) / 2)
        for tool, seconds in row.items():
            places[tool].append((at, seconds))
            at += 1
        at += 1
    for tool, bars in places.items():
        axis.barh([place for place, _ in bars], [seconds for _, seconds in bars], label=tool)
    axis.set_yticks(ticks, rows)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("seconds")
    axis.set_title(title)
    axis.legend(fontsize="small")


def _tables(text: str) -> list[tuple[str, Rows]]:
    """The tables of a page in Markdown; "step: tool" in the first column is one of many tools."""
    found = []
    for section in text.split("\n## ")[1:]:
        title, *lines = section.splitlines()
        table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
        if not table or " ms" in section.partition("|---")[2] or title.endswith("in short"):
            continue
        header, _, *body = table
        rows: Rows = {}
        for name, *cells in body:
            for column, cell in zip(header[1:], cells, strict=True):
                number = _NUMBER.match(cell)
                step, colon, tool = name.partition(": ")
                if number and column == "time" and colon:
                    rows.setdefault(step, {})[tool] = float(number[1])
                elif number and not colon and "ratio" not in column and float(number[1]):
                    rows.setdefault(name, {})[column] = float(number[1])
        found.append((title, rows))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
