"""Draws the costs on a page of figures: `plot.py docs/benchmarks/latest.md` makes latest.png.

Needs matplotlib, which `make peers` installs beside the tools that are compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

#: What such a table's title ends with; see `measuring.costs_table`.
_SUFFIX = ": seconds, of the processors, MiB"
_AXES = ("seconds", "seconds of the processors", "MiB of the largest process")
#: By step and tool, what it cost on each axis.
Rows = dict[str, dict[str, list[float]]]


def main() -> int:
    """Draw every table of costs, one below the other."""
    page = Path(sys.argv[1])
    tables = _tables(page.read_text("utf-8"))
    if not tables:
        raise SystemExit(f"{page} has no tables of costs")
    tools = dict.fromkeys(tool for rows in tables.values() for row in rows.values() for tool in row)
    colors = dict(zip(tools, pyplot.get_cmap("tab20").colors, strict=False))
    heights = [1 + 0.2 * sum(len(row) + 1 for row in rows.values()) for rows in tables.values()]
    figure, axes = pyplot.subplots(
        len(tables),
        len(_AXES),
        figsize=(17, sum(heights)),
        height_ratios=heights,
        sharey="row",
        squeeze=False,
    )
    for line, (title, rows) in zip(axes, tables.items(), strict=True):
        for number, axis in enumerate(line):
            _draw(axis, rows, number, colors)
        line[0].invert_yaxis()
        line[0].set_title(title, loc="left")
        line[-1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(page.with_suffix(".png"), dpi=80)
    return 0


def _draw(
    axis: pyplot.Axes, rows: Rows, number: int, colors: dict[str, tuple[float, float, float]]
) -> None:
    places: dict[str, list[tuple[float, float]]] = {}
    ticks, at = [], 0.0
    for row in rows.values():
        ticks.append(at + (len(row) - 1) / 2)
        for tool, costs in row.items():
            places.setdefault(tool, []).append((at, costs[number]))
            at += 1
        at += 1
    for tool, bars in places.items():
        ends = [cost for _, cost in bars]
        axis.barh([place for place, _ in bars], ends, label=tool, color=colors[tool])
    axis.set_yticks(ticks, rows)
    axis.set_xscale("log")
    axis.set_xlabel(_AXES[number])


def _tables(text: str) -> dict[str, Rows]:
    """The tables of costs on a page in Markdown, by title."""
    found: dict[str, Rows] = {}
    for section in text.split("\n## ")[1:]:
        title, *lines = section.splitlines()
        if not title.endswith(_SUFFIX):
            continue
        header, _, *body = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line
        ]
        found[title.removesuffix(_SUFFIX)] = {
            name.replace("`", ""): {
                tool: [float(cost) for cost in cell.split(", ")]
                for tool, cell in zip(header[1:], cells, strict=True)
                if cell
            }
            for name, *cells in body
        }
    return found


if __name__ == "__main__":
    raise SystemExit(main())
