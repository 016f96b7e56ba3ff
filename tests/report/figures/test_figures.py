import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from tests.sweeps import EVERYTHING, Spec, make_sweep
from vgg_sweep.config.options import load_option
from vgg_sweep.nets.describe import describe
from vgg_sweep.report.figures.figures import SERIES, draw, figure_files, saved
from vgg_sweep.report.figures.plots import MAX_PANELS, Plot, plots
from vgg_sweep.report.results.groups import means
from vgg_sweep.report.results.results import Source, Sweep, read_sweep
from vgg_sweep.report.tables.contents import make_contents
from vgg_sweep.report.tables.errors import table3
from vgg_sweep.report.tables.fusions import table6

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    spec = Spec(num_images=30, record={"precision": "fp32"}, settings={"precision": "fp32"})
    folder = make_sweep(tmp_path_factory.mktemp("figures") / "sweep", EVERYTHING, (0, 1), spec)
    return read_sweep(Source(folder, "sweep"), [])


@pytest.fixture(scope="module")
def by_name(sweep: Sweep) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots([sweep])}


def errors(plot: Plot, panel: str) -> dict[tuple[str, str], tuple[float, float]]:
    marks = plot.marks[plot.marks["panel"] == panel]
    return {(row.nets[0], row.series): (row.y, row.paper) for row in marks.itertuples()}


def test_what_all_nets_share_is_not_swept_over(by_name: dict[str, Plot]) -> None:
    assert "fusion" in by_name and "pivot" not in by_name  # fusions have no precision of their own


def test_error_by_depth_is_table_3_in_the_order_of_depth(sweep: Sweep, by_name: dict[str, Plot]) -> None:
    plot = by_name["depth"]
    drawn = errors(plot, "top-1 error")
    for row in table3(sweep.results).itertuples():
        assert drawn[f"{row.config}-{row.train_scale}", row.train_scale] == pytest.approx(
            (row.top1_error, row.paper_top1_error)
        )
    categories = list(dict.fromkeys(plot.marks["x"]))
    assert categories == ["B-5x5\n8", "A\n11", "A-LRN\n11", "B\n13", "C\n16", "D\n16", "E\n19"]


def test_test_scales_of_a_panel_are_those_that_were_scored(by_name: dict[str, Plot]) -> None:
    marks = by_name["test-scale"].marks
    here = marks[(marks["panel"] == "net D") & (marks["series"] == "jitter")]
    assert list(here["x"]) == [73, 110, 146]


def test_a_fusion_stands_beside_its_members(sweep: Sweep, by_name: dict[str, Plot]) -> None:
    marks = by_name["fusion"].marks
    fused = marks[marks["series"] == "fused"]
    assert list(fused["y"]) == pytest.approx(list(table6(sweep.results)["top1_error"]))
    assert marks.groupby("x", sort=False).size().to_list() == [8, 3, 3, 3]


def test_means_are_over_seeds_and_multiply_adds_are_those_of_describe(sweep: Sweep) -> None:
    nets = means([sweep]).set_index(["members", "fusion", "rule", "method"]).sort_index()
    results = sweep.results
    both = results[(results["members"] == "E-384") & (results["rule"] == "multi") & (results["method"] == "dense")]
    assert len(both) == 2 and both["top1_error"].nunique() == 2
    row = nets.loc[("E-384", "", "multi", "dense")]
    assert row.top1_error == pytest.approx(both["top1_error"].mean())
    size = {"width": 1.0, "classes": 7, "crop": 64, "pool_ceil": False}
    macs = {
        side: int(describe([load_option("model", "E")], image_px=side, **size)[0]["macs"])
        for side in (64, 101, 110, 119)
    }
    assert row.macs == 2 * (macs[101] + macs[110] + macs[119])
    assert nets.loc[("E-384", "", "single", "multi-crop")].macs == 50 * macs[64]


def test_files_are_alike_every_time_and_hold_text_and_every_mark(sweep: Sweep, by_name: dict[str, Plot]) -> None:
    contents = make_contents([sweep], [])
    drawn = figure_files("svg", contents)
    assert drawn == figure_files("svg", contents)
    assert set(drawn) == {f"{name}.svg" for name in by_name}
    root = ElementTree.fromstring(drawn["depth.svg"])
    words = {text.text for text in root.iter(f"{SVG}text")}
    assert {"top-1 error", "A-LRN", "19", "train scale", "the paper's"} <= words
    assert root.find(f"{SVG}title").text == "Error against depth"  # type: ignore[union-attr]
    marks = [group for group in root.iter(f"{SVG}g") if re.match("(marks|paper)-", group.get("id", ""))]
    expected = by_name["depth"].marks[["y", "paper"]].notna().to_numpy().sum()
    assert sum(len(list(group.iter(f"{SVG}use"))) for group in marks) == expected


def test_every_seed_is_a_dot(sweep: Sweep, by_name: dict[str, Plot]) -> None:
    """Two seeds of each net: as many dots in a series as results that its marks are the means of."""
    single = sweep.results[(sweep.results["rule"] == "single") & (sweep.results["method"] == "dense")]
    expected = single[single["fusion"] == ""].groupby("members")["top1_error"].apply(sorted)
    marks = by_name["depth"].marks
    for point in marks[marks["panel"] == "top-1 error"].itertuples():
        assert sorted(point.seeds) == pytest.approx(expected[point.nets[0]]) and len(point.seeds) == 2
    root = ElementTree.fromstring(figure_files("svg", make_contents([sweep], []))["depth.svg"])
    groups = [group for group in root.iter(f"{SVG}g") if group.get("id", "").startswith("seeds-")]
    assert sum(len(list(group.iter(f"{SVG}use"))) for group in groups) == 2 * len(marks)


def test_a_pdf_is_alike_every_time_and_undated(
    sweep: Sweep, by_name: dict[str, Plot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgg_sweep.report.figures.figures.plots", lambda *_: [by_name["cost-memory"]])
    contents = make_contents([sweep], [])
    [(name, first)] = figure_files("pdf", contents).items()
    assert (name, first) == ("cost-memory.pdf", figure_files("pdf", contents)["cost-memory.pdf"])
    assert first.startswith(b"%PDF-") and b"CreationDate" not in first


def plot_of(panels: list[str], series: list[str]) -> Plot:
    rows = [
        {
            "panel": panel,
            "series": name,
            "x": 1.0 + index,
            "y": 10.0,
            "low": 5.0,
            "high": 20.0,
            "text": "",
            "seeds": (),
            "joins": True,
            "nets": (),
        }
        for panel in panels
        for index, name in enumerate(series)
    ]
    marks = pd.DataFrame(rows).assign(paper=float("nan"))
    return Plot("made-up", "Made up", "", "x", marks, y="y", series="series")


def test_a_name_is_drawn_as_it_is_written() -> None:
    words = saved(draw(plot_of(["$x^2$ <b>"], ["$\\frac", "_a"]), ["$x^2$ <b>"]), "svg", plot_of([""], [""])).decode()
    assert "$x^2$ &lt;b>" in words or "$x^2$ &lt;b&gt;" in words


def test_no_line_goes_through_variants_of_a_net_and_costs_begin_at_nothing(by_name: dict[str, Plot]) -> None:
    marks = by_name["depth"].marks
    assert set(marks[~marks["joins"].astype(bool)]["x"]) == {"A-LRN\n11", "B-5x5\n8"}
    assert by_name["cost-memory"].x_from_zero and not by_name["depth"].x_from_zero


def test_series_differ_in_colour_mark_and_dash() -> None:
    for looks in zip(*SERIES, strict=True):
        assert len(set(looks)) == len(SERIES)


def test_a_large_sweep_has_a_bounded_number_of_panels_and_says_so(tmp_path: Path) -> None:
    for step in range(15):
        settings = {"recipe.lr": 0.01 * (step + 2)}
        make_sweep(tmp_path, [("A", "256")], spec=Spec(num_images=8, passes=["dense@single"], settings=settings))
    drawn = {plot.name: plot for plot in plots([read_sweep(Source(tmp_path, "sweep"), [])])}
    assert len(drawn["depth"].panels) == MAX_PANELS
    assert drawn["depth"].caption.endswith(f"The first {MAX_PANELS} of 30 panels.")


def test_long_titles_go_on_in_the_next_line_and_many_nets_stand_upright(by_name: dict[str, Plot]) -> None:
    """Panels of many settings and nets stay readable: no text reaches beyond its panel or over its neighbour."""
    plot = by_name["depth"]
    where = "recipe.init=he, recipe.zero_init_residual=False, warm_start=none"
    many = pd.concat([plot.marks.assign(panel=where, x=f"A-BN-skip-{n}\n{n}") for n in range(9)], ignore_index=True)
    crowded = Plot(plot.name, plot.title, plot.caption, plot.x, many)
    for drawn, is_upright in ((plot, False), (crowded, True)):
        figure = draw(drawn, drawn.panels)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        panel_px = figure.get_window_extent().width / min(3, len(drawn.panels))
        assert axes.title.get_window_extent().width < panel_px
        labels = [text for text in (*axes.get_xticklabels(), *axes.texts) if text.get_text()]
        boxes = sorted((text.get_window_extent() for text in labels), key=lambda box: (round(box.y0), box.x0))
        rows = zip(boxes, boxes[1:], strict=False)
        assert is_upright or all(left.x1 < right.x0 for left, right in rows if round(left.y0) == round(right.y0))
        assert {text.get_rotation() for text in axes.get_xticklabels()} == {90.0 if is_upright else 0.0}
        assert all(box.y0 >= 0 for box in boxes)
