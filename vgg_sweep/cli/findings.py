"""What a check of a set has found, for people (a table) and for programs (CSV, JSON)."""

import csv
import io
from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vgg_sweep.images.check.check import KINDS, Counts, Findings
from vgg_sweep.images.sets.matching import Problem

NUM_EXAMPLES = 3


def findings_table(findings: Findings) -> RenderableType:
    """A row for each kind of problem, then some images of each kind, then what was read."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("problem", no_wrap=True)
    table.add_column("train", justify="right")
    table.add_column("val", justify="right")
    table.add_column("meaning")
    examples = []
    for kind, meaning in KINDS.items():
        of_kind = [problem for problem in findings.problems if problem.kind == kind]
        if of_kind:
            splits = Counter(problem.split for problem in of_kind)
            table.add_row(kind, f"{splits['train']:,}", f"{splits['val']:,}", meaning)
            more = [f"  and {len(of_kind) - NUM_EXAMPLES:,} more"] if len(of_kind) > NUM_EXAMPLES else []
            shown = [f"  {problem.id}: {problem.detail}" for problem in of_kind[:NUM_EXAMPLES]]
            examples += [f"{kind}:", *shown, *more]
    found: list[RenderableType] = [table, "", Text("\n".join(examples)), ""] if findings.problems else []
    return Group(*found, Text("\n".join([*_sentences(findings.counts), *findings.notes])))


def findings_csv(findings: Findings) -> str:
    """A row a problem."""
    out = io.StringIO()
    rows = csv.DictWriter(out, ("kind", "split", "id", "detail"), lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(problem) for problem in findings.problems)
    return out.getvalue()


def findings_json(findings: Findings) -> dict[str, Any]:
    """Everything: counts, notes, and every problem."""
    counts = findings.counts
    return {
        "num_images": counts.num_images,
        "num_total": counts.num_total,
        "formats": dict(counts.formats),
        "modes": dict(counts.modes),
        "num_rotated": counts.num_rotated,
        "smaller_side_px": _range_px(counts),
        "notes": findings.notes,
        "num_problems": dict(Counter(problem.kind for problem in findings.problems)),
        "problems": [asdict(problem) for problem in findings.problems],
    }


def verdict(problems: list[Problem]) -> str:
    """How many problems of which kinds, in a line."""
    kinds = Counter(problem.kind for problem in problems)
    return ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kind in kinds) or "no problem"


def _sentences(counts: Counts) -> list[str]:
    said = [f"{counts.num_images:,} of {counts.num_total:,} images read: {_listed(counts.formats)}"]
    said.append(f"colours: {_listed(counts.modes)} (all are read as RGB)")
    if counts.smaller_sides_px:
        smallest, median, largest = _range_px(counts)
        said.append(f"smaller side: {smallest} to {largest} px, median {median}")
    if counts.num_rotated:
        said.append(f"{counts.num_rotated:,} with an EXIF rotation, ignored unless data.exif_rotation=true")
    return said


def _range_px(counts: Counts) -> list[int]:
    """Smallest, median and largest smaller side; empty if none was read."""
    sides_px = sorted(counts.smaller_sides_px.elements())
    return [sides_px[0], sides_px[len(sides_px) // 2], sides_px[-1]] if sides_px else []


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counter.most_common())
