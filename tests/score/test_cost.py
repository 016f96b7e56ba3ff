"""What scoring costs, against counts by hand from Tables 3 to 7 and the speed that was recorded."""

import io
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console

from tests.paths import ROOT
from tests.tiny import tiny_config, tiny_run
from vgg_sweep.cli.plans import pass_table
from vgg_sweep.config.options import conf_dir, load_option
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import test_scales as scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.runs.files import write_json
from vgg_sweep.score.cost import Size, macs, macs_per_second, validation_set
from vgg_sweep.sweep.grids import cells

TINY_IMAGES = 3 * 4


def shown(run: Run) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=200)
    console.print(pass_table(run))
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def sweep_of(name: str, tmp_path: Path) -> list[Config]:
    """The configurations of conf/sweep at the size of the embedded set: each net once, with all its passes."""
    points = cells(OmegaConf.to_container(OmegaConf.load(conf_dir() / "sweep" / f"{name}.yaml"))["grids"])  # type: ignore[index, call-overload]
    options = [{group: load_option(group, option) for group, option in point.items()} for point in points]
    fractals = Data(name="fractals", source="fractals")
    single = {"protocol": load_option("protocol", "single")}
    runs = plan([Config(**(single | each), data=fractals, crop=64, width=1 / 8, out=str(tmp_path)) for each in options])
    return [run.config for run in runs]


def scored_once(configs: Iterable[Config]) -> list[tuple[Config, Pass]]:
    """What the protocols of the configurations, each of another net, put through the nets."""
    return [(config, each) for config in configs for each in passes(config)]


def scored_row_by_row(configs: Iterable[Config]) -> list[tuple[Config, Pass]]:
    """What would be put through the nets if every row of Tables 3 to 7 and of the 5x5 comparison were evaluated by
    itself, as far as `configs` have its nets.
    """
    nets = {paper.Net(config.model.name, config.train_scale.name): config for config in configs}
    return [
        (config, each)
        for members, rule, method in _rows()
        if all(net in nets for net in members)
        for config in (nets[net] for net in members)
        for each in passes_of(method, scales(config.train_scale.S, rule, config.crop))
    ]


def _rows() -> list[tuple[tuple[paper.Net, ...], str, str]]:
    """The nets, rule of Q and method of every row that has to be evaluated."""
    single_nets = [((row.net,), row.rule, row.method) for table in "345" for row in paper.rows(table)]
    fusions = [(row.members, "multi", row.method) for row in paper.fusions()]
    systems = [(members, "multi", method) for members, method, _ in paper.own_systems()]
    kernels = [((paper.Net(config, "256"),), "single", "centre-crop") for config in ("B", "B-5x5")]
    return [*single_nets, *fusions, *systems, *kernels]


def total_macs(scored: Iterable[tuple[Config, Pass]], num_classes: int, sizes_px: Sequence[Size]) -> int:
    """Multiply-adds of passes over images of the given sizes."""
    return sum(macs([each], config, num_classes, sizes_px)[each] for config, each in scored)


def total_views(scored: Iterable[tuple[Config, Pass]]) -> int:
    """Forward passes for each image."""
    return sum(each.views for _, each in scored)


def test_a_run_that_is_not_trained_has_a_plan(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, protocol="multi")
    head, *rows, everything, todo, last = shown(run)
    assert head == ["method", "Q", "flip", "views/image", "state", "multiply-adds", "disk", "time"]
    assert [row[:3] for row in rows] == [["dense", str(Q), flip] for Q in (32, 37, 41) for flip in ("no", "yes")]
    assert {(row[-1], row[4]) for row in rows} == {("-", "to")}
    assert everything[1:] == todo[2:] and everything[1] == "6"
    assert "6 of 6 passes to do" in " ".join(last) and "not trained" in " ".join(last)


def test_what_is_scored_is_no_longer_to_do(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, protocol="multi")
    run.folder.posteriors.mkdir(parents=True)
    first = passes(run.config)[0]
    np.save(run.folder.posteriors / f"{first.name}.npy", np.zeros((TINY_IMAGES, 3), np.float32))
    entry = {"file": f"{first.name}.npy", "method": "dense", "Q": first.Q, "flip": False, "N": TINY_IMAGES, "K": 3}
    write_json(run.folder.posteriors / "manifest.json", {"files": [entry]})
    _, done, *rows, everything, todo, last = shown(run)
    assert done[4] == "done" and {row[4] for row in rows} == {"to"}
    assert (everything[1], todo[2]) == ("6", "5") and "5 of 6 passes to do." in " ".join(last)


def test_time_is_work_over_the_speed_that_the_sweep_recorded(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, protocol="crops")
    assert macs_per_second(tmp_path / "sweep") is None
    for name, speed in (("slow", 1e3), ("middle", 2e3), ("fast", 9e9)):
        (tmp_path / "sweep" / name).mkdir(parents=True)
        (tmp_path / "sweep" / name / "config.yaml").touch()
        write_json(tmp_path / "sweep" / name / "record.json", {"score_macs_per_second": speed})
    (tmp_path / "sweep" / "unscored").mkdir()
    (tmp_path / "sweep" / "unscored" / "config.yaml").touch()
    assert macs_per_second(tmp_path / "sweep") == 2e3
    layers = parse_columns(run.config.model.columns, width=1 / 32, classes=3, crop=32)
    crop_macs = net_macs(layers, 32, 32, pool_ceil=False)
    multi_crop = next(row for row in shown(run) if row[0] == "multi-crop")
    assert multi_crop[6:10] == [
        f"{TINY_IMAGES * 25 * crop_macs / 1e6:.1f}",
        "M",
        f"{(128 + 4 * 3 * 12) / 1e3:.1f}",
        "kB",
    ]
    hours = TINY_IMAGES * 25 * crop_macs / 2e3 / 3600
    assert int(multi_crop[-4]) == int(hours) and multi_crop[-3] == "h"


def test_sizes_come_from_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, sizes in {"train": [(40, 50)], "val": [(40, 50), (60, 44)]}.items():
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            for number, size in enumerate(sizes):
                Image.new("RGB", size).save(tmp_path / split / label / f"{number}.jpg")
    monkeypatch.setattr(Image.Image, "convert", None)  # what decoding would call
    config = tiny_config(tmp_path, data=Data(name="folder", source="folder", root=str(tmp_path)))
    assert validation_set(config) == (2, [(40, 50), (60, 44)] * 2)


def test_the_fractals_are_counted_without_being_drawn(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert validation_set(config) == (3, [(64, 64)] * TINY_IMAGES)
    assert not Path(config.cache).exists()


def test_the_views_of_the_whole_sweep_by_hand(tmp_path: Path) -> None:
    """Once: A and A-LRN 2 each, B 6 and its centre crop, nine nets of C, D, E and D-jitter-fc 6 each, and 150 crops for
    the two jittered nets that have them; B-5x5 2 and its centre crop. Row by row: Table 3 is 12 x 2, Table 4 10 x 6,
    Table 5 twice 6 + 150 + 156; the submission 7 x 6, D and E together 2 x (6 + 150 + 156), all of Table 6; Table 7 2 x
    156, 156 and 42; and two centre crops.
    """
    configs = sweep_of("all", tmp_path)
    assert len(configs) == 14
    assert total_views(scored_once(configs)) == 2 * 2 + 7 + 10 * 6 + 2 * 150 + 3
    table5 = 2 * (6 + 150 + 156)
    assert total_views(scored_row_by_row(configs)) == 12 * 2 + 10 * 6 + table5 + 42 + table5 + 312 + 156 + 42 + 2


def test_the_documented_saving_is_the_one_that_is_counted(tmp_path: Path) -> None:
    configs = sweep_of("all", tmp_path)
    once, row_by_row = scored_once(configs), scored_row_by_row(configs)
    images = validation_set(configs[0])
    times = total_macs(row_by_row, *images) / total_macs(once, *images)
    text = " ".join((ROOT / "docs" / "protocols.md").read_text().split())
    assert f"{total_views(once)} views of each image" in text
    assert f"row by row would need {total_views(row_by_row)}" in text
    assert f"in multiply-adds, {times:.1f} times less" in text


def test_a_sweep_is_compared_by_the_rows_it_has(tmp_path: Path) -> None:
    configs = sweep_of("table3", tmp_path)
    assert total_views(scored_once(configs)) == 12 * 2
    nothing_shared = {(config.model.name, config.train_scale.name, each) for config, each in scored_once(configs)}
    assert nothing_shared <= {(c.model.name, c.train_scale.name, each) for c, each in scored_row_by_row(configs)}


def test_multiply_adds_weigh_each_view_by_its_size(tmp_path: Path) -> None:
    [config] = [each for each in sweep_of("table3", tmp_path) if each.model.name == "A"]
    layers = parse_columns(config.model.columns, width=1 / 8, classes=20, crop=64)
    one = net_macs(layers, 73, 146, pool_ceil=False)
    assert total_macs(scored_once([config]), 20, [(320, 160)] * 3) == 3 * 2 * one


def test_the_plan_does_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, vgg_sweep.cli\n"
        "sys.argv = ['vgg-sweep', 'score', '--plan', 'model=A']\n"
        "vgg_sweep.cli.main()\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 passes to do" in done.stdout and list(tmp_path.iterdir()) == []
