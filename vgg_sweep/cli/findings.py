"""`vgg-sweep data check`: what is wrong with a set, for people (a table) and for programs (CSV, JSON)."""

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vgg_sweep.cli.screen import shown_progress
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.check.check import KINDS, Findings, check_boxes, check_images
from vgg_sweep.images.sets.boxes import Problem, find_boxes, open_boxes
from vgg_sweep.images.sets.sources import check_source, is_indexed, open_images, open_index
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.runs.files import write_text
from vgg_sweep.runs.progress import Interrupted

NUM_EXAMPLES = 3


def check_set(config: Config, file: Path | None, *, as_json: bool) -> None:
    """Check the set of `config`; show what was found so far if it is stopped."""
    if file is not None and not file.absolute().parent.is_dir():
        raise ConfigError(f"--csv {file}: {file.parent} is not a folder; make it first.")
    if not config.data.download:
        check_source(config.data)
    with shown_progress("list") as progress:
        images = open_images(config, progress)
    facts = open_index(config).facts if is_indexed(config.data) else {"notes": [], "mislabelled": []}
    findings = Findings(notes=list(facts["notes"]))
    was_stopped = False
    try:
        with shown_progress("check") as progress:
            check_images(images, config, findings, progress, facts["mislabelled"])
        _check_boxes(config, images, findings)
    except KeyboardInterrupt:
        was_stopped = True
    if file is not None:
        write_text(file, findings_csv(findings))
    if as_json:
        typer.echo(json.dumps(findings_json(findings), indent=1))
    else:
        Console().print(findings_table(findings), soft_wrap=True)
        typer.echo(f"{config.data.name}: {verdict(findings.problems)}")
    if was_stopped:
        raise Interrupted(
            f"stopped after {findings.num_images:,} of {findings.num_total:,} images; duplicates were not checked"
        )
    raise typer.Exit(1 if findings.problems else 0)


def _check_boxes(config: Config, images: ImageSet, findings: Findings) -> None:
    """Those of `data.boxes`, or where boxes usually lie; drawn ones are exact."""
    if config.data.source == "fractals" or not find_boxes(config.data):
        return
    try:
        with shown_progress("boxes") as progress:
            check_boxes(images, open_boxes(config, images, progress), findings, progress)
    except ConfigError as error:
        if config.data.boxes is not None:
            raise
        findings.notes.append(str(error))


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
    return Group(*found, Text("\n".join([*_sentences(findings), *findings.notes])))


def findings_csv(findings: Findings) -> str:
    """A row a problem."""
    out = io.StringIO()
    rows = csv.DictWriter(out, ("kind", "split", "id", "detail"), lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(problem) for problem in findings.problems)
    return out.getvalue()


def findings_json(findings: Findings) -> dict[str, Any]:
    """Everything: counts, notes, and every problem."""
    return {
        "num_images": findings.num_images,
        "num_total": findings.num_total,
        "formats": dict(findings.formats),
        "modes": dict(findings.modes),
        "num_rotated": findings.num_rotated,
        "smaller_side_px": _range_px(findings),
        "notes": findings.notes,
        "num_problems": dict(Counter(problem.kind for problem in findings.problems)),
        "problems": [asdict(problem) for problem in findings.problems],
    }


def verdict(problems: list[Problem]) -> str:
    """How many problems of which kinds, in a line."""
    kinds = Counter(problem.kind for problem in problems)
    return ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kind in kinds) or "no problems"


def _sentences(findings: Findings) -> list[str]:
    said = [f"{findings.num_images:,} of {findings.num_total:,} images read: {_listed(findings.formats)}"]
    said.append(f"colours: {_listed(findings.modes)} (all are read as RGB)")
    if findings.smaller_sides_px:
        smallest, median, largest = _range_px(findings)
        said.append(f"smaller side: {smallest} to {largest} px, median {median}")
    if findings.num_rotated:
        said.append(f"{findings.num_rotated:,} with an EXIF rotation, ignored unless data.exif_rotation=true")
    return said


def _range_px(findings: Findings) -> list[int]:
    """Smallest, median and largest smaller side; empty if none was read."""
    sides_px = sorted(findings.smaller_sides_px.elements())
    return [sides_px[0], sides_px[len(sides_px) // 2], sides_px[-1]] if sides_px else []


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counter.most_common())
