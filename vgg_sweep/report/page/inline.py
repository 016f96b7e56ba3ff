"""A figure inside the page: the SVG that matplotlib draws, in the page's colours and with a title on every mark."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import pandas as pd

from vgg_sweep.report.figures.figures import GRID, GROUND, INK, MUTED, SERIES, draw, look, saved, series
from vgg_sweep.report.figures.plots import Plot
from vgg_sweep.report.results.groups import rows_of

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", GROUND: "var(--ground)"} | {
    colour: f"var(--series-{index})" for index, (colour, _, _) in enumerate(SERIES)
}
"""The style sheet has each of these in two shades, for a light and for a dark page."""

SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""The marks, as a legend writes them."""


@dataclass(frozen=True)
class LegendEntry:
    name: str
    sign: str
    colour: str


def legend(plot: Plot) -> list[LegendEntry]:
    """What the marks of a plot stand for; empty where there is one series."""
    names = series(plot)
    if len(names) < 2:
        return []
    looks = [look(index) for index in range(len(names))]
    return [
        LegendEntry(name, SIGNS[mark], COLOURS[colour]) for name, (colour, mark, _) in zip(names, looks, strict=True)
    ]


def inline_svg(plot: Plot, panel: str, net_numbers: Mapping[str, int]) -> str:
    """One panel as an `<svg>` element for an HTML page, named by `aria-label`.

    `net_numbers` gives each net the number by which the page's filter knows it, in `data-nets`.
    """
    root = ElementTree.fromstring(saved(draw(plot, [panel], has_legend=False), "svg", plot, panel))
    here = plot.marks[plot.marks["panel"] == panel]
    for index, name in enumerate(series(plot)):
        _label_marks(root, index, here[here["series"] == name], plot, net_numbers)
    for tag in ("metadata", "title", "defs"):  # the topmost defs would style every element of the page
        for element in root.findall(SVG + tag):
            root.remove(element)
    _make_local(root, f"{plot.name}-{plot.panels.index(panel)}-")
    title = ", ".join(filter(None, [plot.title, panel]))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub("|".join(COLOURS), lambda found: COLOURS[found[0]], text)


def _label_marks(
    root: ElementTree.Element, index: int, marks: pd.DataFrame, plot: Plot, net_numbers: Mapping[str, int]
) -> None:
    """A title for every mark of a series, ours and the paper's, and the nets that marks and lines are about."""
    of_paper = marks[marks["paper"].notna()]
    for kind, rows in (("marks", marks), ("paper", of_paper)):
        if (group := _group(root, f"{kind}-{index}")) is None:
            continue
        for mark, row in zip(group.iter(f"{SVG}use"), rows_of(rows), strict=True):
            value = row.paper if kind == "paper" else row.y
            interval = "" if kind == "paper" or pd.isna(row.low) else f" (95 %: {row.low:.1f} to {row.high:.1f})"
            about = " + ".join(row.nets) if len(row.nets) < 4 else f"{len(row.nets)} nets"
            where = str(row.x).replace("\n", ", ") if isinstance(row.x, str) else f"{row.x:.4g}"
            words = [about, row.series if row.series not in about else "", f"{plot.x}: {where}"]
            whose = "the paper: " if kind == "paper" else ""
            title = ElementTree.SubElement(mark, f"{SVG}title")
            title.text = f"{whose}{value:.1f} %{interval}\n" + "\n".join(filter(None, words))
            mark.set("data-nets", numbers(row.nets, net_numbers))
    if all_nets := {net for nets in marks["nets"] for net in nets}:
        for kind in ("line", "marks", "paper"):
            if (group := _group(root, f"{kind}-{index}")) is not None:
                group.set("data-nets", numbers(all_nets, net_numbers))


def _group(root: ElementTree.Element, id: str) -> ElementTree.Element | None:
    return root.find(f".//{SVG}g[@id='{id}']")


def numbers(nets: Iterable[str], net_numbers: Mapping[str, int]) -> str:
    """What `data-nets` holds."""
    return " ".join(str(number) for number in sorted(net_numbers[net] for net in nets if net in net_numbers))


def _make_local(root: ElementTree.Element, prefix: str) -> None:
    """Ids of its own, of which a page holds each once, HTML's names for SVG's elements, and no needless characters."""
    referred = {found for element in root.iter() for found in _references(element)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        if element.tag not in ("text", "tspan", "title"):
            element.text = None
        element.tail = None
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            if name == "id":
                if value in referred:
                    element.set("id", prefix + value)
            elif name == f"{XLINK}href":
                element.set("href", f"#{prefix}{value[1:]}")
            else:
                short = re.sub(r"(\.\d\d)\d+", r"\1", re.sub(r"\s+", " ", value))
                element.set(name, short.replace("url(#", f"url(#{prefix}"))


def _references(element: ElementTree.Element) -> list[str]:
    return [reference for value in element.attrib.values() for reference in re.findall(r"(?:^|url\()#([\w-]+)", value)]
