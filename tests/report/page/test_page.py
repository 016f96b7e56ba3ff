import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import EVERYTHING, Spec, make_run, make_sweep
from vgg_sweep.report.page.grids import MAX_ROWS, plain_grid
from vgg_sweep.report.page.page import to_html
from vgg_sweep.report.results.results import Source, read_sweep
from vgg_sweep.report.tables.contents import TABLES, Contents, make_contents
from vgg_sweep.report.tables.table import TextTable, number
from vgg_sweep.report.writers.data import to_json

HOSTILE_CLASS = "<script>document.title='taken'</script>"
HOSTILE_IMAGE = 'val/"><img src=x onerror="document.title=\'taken\'">.png'
HOSTILE_SWEEP = "sweep <b onmouseover=alert(1)>&amp;"


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator["Element"]:
        for child in self.children:
            if not tags or child.tag in tags:
                yield child
            yield from child.all(*tags)

    @property
    def words(self) -> str:
        return self.text + "".join(child.words for child in self.children)


class Tree(HTMLParser):
    """What a browser would make of a page, as far as it is well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element("document", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert self.open == [self.root], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in ("meta", "input", "img"):
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(Element("#text", {}, data))


def contents_of(sweep: Path) -> Contents:
    return make_contents(
        [read_sweep(Source(sweep, sweep.name), ["C-jitter + D-jitter"])],
        ["deviations", *(table.name for table in TABLES.values() if table.of in ("results", "claims"))],
        is_whole=True,
    )


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """A sweep without its E-jitter, with curves, and with names that would do harm if they were not escaped."""
    sweep = tmp_path_factory.mktemp("page") / HOSTILE_SWEEP
    nets = [net for net in EVERYTHING if net != ("E", "jitter")]
    make_sweep(sweep, nets, spec=Spec(num_images=40, record={"commit": "abc123", "train_seconds": 60.0}))
    for folder in sweep.iterdir():
        path = folder / "posteriors" / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["classes"][:2] = [HOSTILE_CLASS, "a & b"]
        manifest["images"] = [
            image.replace("val/", f"{n} {HOSTILE_IMAGE}") for n, image in enumerate(manifest["images"])
        ]
        path.write_text(json.dumps(manifest))
        (folder / "metrics.csv").write_text(
            "step,epoch,lr,loss,error,val_error,S_px,images_per_second,wait_share\n"
            "10,0.5,0.01,2,90,,73,100,0.1\n20,1,0.01,1,70,60,73,100,0.1\n"
        )
    return contents_of(sweep)


@pytest.fixture(scope="module")
def html(contents: Contents) -> str:
    return to_html(contents)


@pytest.fixture(scope="module")
def page(html: str) -> Element:
    return Tree(html).root


def cells(table: Element) -> list[list[str]]:
    """Headings first; without the strips, which are drawings of the same numbers."""
    rows = ([cell for cell in row.children if cell.tag in ("th", "td")] for row in table.all("tr"))
    return [[cell.words for cell in row if "aria-hidden" not in cell.attributes] for row in rows]


def table(page: Element, id: str) -> list[dict[str, list[str]]]:
    """A dict for each row: heading -> cells, as a heading may stand over two columns."""
    found = next(table for table in page.all("table") if table.attributes["id"] == id)
    headings, *rows = cells(found)
    return [
        {name: [cell for h, cell in zip(headings, row, strict=True) if h == name] for name in headings} for row in rows
    ]


def shown_number(value: float | None, digits: int = 1, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{digits}f}"


def test_every_table_is_there_with_the_numbers_of_the_json(contents: Contents, page: Element) -> None:
    by_table: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(to_json(list(contents.frames.values()))):
        by_table.setdefault(row["table"], []).append(row)
    assert by_table.keys() >= {"deviations", "3", "4", "5", "6", "7", "5x5", "lrn", "fusion", "claims"}
    for name, rows in by_table.items():
        shown = table(page, f"table-{name}")
        assert len(shown) == len(rows)
        for cells, row in zip(shown, rows, strict=True):
            if name in ("3", "4", "5", "6", "fusion", "5x5"):
                assert cells["top-1"] == [shown_number(row["top1_error"])]
                assert cells["top-5"] == [shown_number(row["top5_error"])]
            if name in ("3", "4", "5", "6"):
                assert cells["paper"] == [shown_number(row["paper_top1_error"]), shown_number(row["paper_top5_error"])]
            if name == "7":
                assert cells["system"] == [row["system"]]
                assert cells["paper\ntop-1"] == [shown_number(row["paper_top1_error"])]
            if name == "claims":
                assert [cell.rstrip("‡") for cell in cells["claim"]] == [row["claim"]]
                assert cells["verdict"] == [row["verdict"]]
                assert cells["points"] == [shown_number(row["points"], sign="+")]
            if name == "deviations":
                assert (cells["setting"], cells["here"]) == ([row["setting"]], [row["here"]])


def test_the_claims_follow_all_runs_each_with_verdict_and_interval(contents: Contents, page: Element) -> None:
    sections = list(page.all("section"))
    assert [section.attributes["id"] for section in sections[:2]] == ["all", "claims"]
    words = sections[1].words.replace("−", "-")
    for row in contents.frames["claims"].itertuples():
        assert row.claim in words and row.verdict in words
        if row.verdict != "missing":
            assert f"95 %: {row.points_low:+.1f} to {row.points_high:+.1f}" in words
    assert "missing" in set(contents.frames["claims"]["verdict"])


def test_what_it_is_about_stands_under_the_title(tmp_path: Path) -> None:
    record = {"segments": [{"hardware": "A Processor, features 12"}], "device_name": "CPU, 2 threads"}
    for seed in (0, 1):
        spec = Spec(20, passes=["dense@single"], settings={"width": 0.0625}, record=record | {"precision": "fp32"})
        run = make_run(tmp_path, "A", "256", seed, spec)
        (run / "status.json").write_text('{"state": "done", "heartbeat": 1795874952.3}')
    (about,) = [
        each for each in Tree(to_html(contents_of_runs(tmp_path))).root.all("dl") if "about" in each.attributes["class"]
    ]
    facts = [row.words for row in about.all("div")]
    assert [words.split()[0] for words in facts] == ["Data", "Nets", "Training", "Made", "Last"]
    words_there = " ".join(facts)
    for words in (
        "fractals: 7 classes, 20 validation images", "width 1/16 of the paper’s, crop 64 px (the paper: 224)",
        "74 epochs at S = 256, seeds 0, 1", "A Processor, CPU, 2 threads, fp32", "November 2026",
    ):  # fmt: skip
        assert words in words_there


def contents_of_runs(sweep: Path) -> Contents:
    return make_contents([read_sweep(Source(sweep, sweep.name), [])], ["runs", "3"])


def test_of_many_runs_the_best_rows_show_and_the_others_are_folded(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256"), ("B", "256"), ("C", "384")], spec=Spec(20))
    contents = contents_of_runs(tmp_path)
    tree = Tree(to_html(contents)).root
    best, whole = table(tree, "table-best"), table(tree, "table-runs")
    assert len(best) == 3 and len(whole) == len(contents.frames["runs"]) > 30
    folded = next(each for each in tree.all("details") if "All rows" in each.words)
    assert any(each.attributes.get("id") == "table-runs" for each in folded.all("table"))


def test_the_sections_are_all_there(page: Element) -> None:
    ids = [section.attributes["id"] for section in page.all("section")]
    assert ids == [
        "all",
        "claims",
        "missing",
        "figures",
        "tables",
        "nets",
        "images",
        "classes",
        "settings",
        "provenance",
    ]
    links = [link.attributes["href"] for nav in page.all("nav") for link in nav.all("a")]
    assert links == [f"#{id}" for id in ids]


def test_figures_have_a_name_a_caption_and_their_marks_as_a_table(page: Element) -> None:
    figures = {figure.attributes["id"]: figure for figure in page.all("figure")}
    assert set(figures) == {"depth", "test-scale", "fusion", "cost-time", "cost-memory", "cost-testing", "training"}
    for name, figure in figures.items():
        assert all(svg.attributes["role"] == "img" and svg.attributes["aria-label"] for svg in figure.all("svg"))
        assert [caption.words for caption in figure.all("figcaption")] != [""]
        marks = [title.words for title in figure.all("title") if not title.words.startswith("the paper")]
        rows = table(page, f"{name}-data")
        assert len(marks) == len(rows) > 0
        errors = Counter(re.match(r"[\d.]+", mark)[0] for mark in marks)  # type: ignore[index]
        heading = next(name for name in reversed(rows[0]) if name.endswith("error (%)"))
        assert errors == Counter(row[heading][0] for row in rows)


def test_table_2_has_the_paper_s_counts_beside_ours_at_its_size(page: Element) -> None:
    counts = {row["net"][0]: row for row in table(page, "table-2")}
    for net, millions in {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}.items():
        assert counts[net]["paper"] == [str(millions)]
        assert round(float(counts[net]["parameters (M)\nat the paper’s size"][0])) == millions
    assert [row["E"][0] for row in table(page, "table-1")].count("conv3-512") == 8


def test_commands_that_fill_the_gaps_are_there(contents: Contents, page: Element) -> None:
    blocks = [block.words for block in page.all("pre")]
    assert contents.commands and "\n".join(contents.commands) in blocks
    missing = [row for row in page.all("tr") if row.attributes.get("class") == "missing"]
    assert len(missing) == sum(
        (frame["command"] != "").sum() for name, frame in contents.frames.items() if "command" in frame
    )


def test_names_are_text_whatever_is_in_them(html: str, page: Element) -> None:
    assert len(list(page.all("script"))) == 1
    assert not list(page.all("img")) and all(bold.attributes == {} for bold in page.all("b"))
    assert not any(name.startswith("on") for element in page.all() for name in element.attributes)
    assert HOSTILE_CLASS in page.words and HOSTILE_IMAGE in page.words and HOSTILE_SWEEP in page.words
    assert HOSTILE_CLASS not in html and HOSTILE_IMAGE not in html


def test_the_page_needs_nothing_beside_itself(html: str, page: Element) -> None:
    assert not re.search(r"https?:|@import|url\((?!#)", html)
    assert not list(page.all("link", "iframe", "object", "embed"))
    for element in page.all():
        assert element.attributes.get("href", "#").startswith("#")
        assert element.attributes.get("src", "data:image/").startswith("data:image/")
    [script] = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.words.encode()).digest()).decode()
    [policy] = [m.attributes["content"] for m in page.all("meta") if "http-equiv" in m.attributes]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_ids_are_unique_and_what_refers_to_them_finds_them(page: Element) -> None:
    ids = Counter(element.attributes["id"] for element in page.all() if "id" in element.attributes)
    assert [id for id, count in ids.items() if count > 1] == []
    referring = ("aria-labelledby", "href")
    assert {
        e.attributes[name].removeprefix("#") for e in page.all() for name in referring if name in e.attributes
    } <= set(ids)
    assert all("scope" in th.attributes for th in page.all("th"))
    assert len(list(page.all("caption"))) == len(list(page.all("table")))


def test_the_same_runs_give_the_same_page(contents: Contents, html: str) -> None:
    assert to_html(contents) == html


def test_a_long_table_says_how_much_is_left_out() -> None:
    grid = plain_grid(TextTable.of("long", "Long", [number("n", "n", 0)], [{"n": n} for n in range(1000)]))
    assert len(grid.rows) == MAX_ROWS and grid.notes == ["The first 300 of 1,000 rows; report --format csv has all."]


def test_the_page_is_made_without_torch_and_other_formats_without_matplotlib(
    contents: Contents, tmp_path: Path
) -> None:
    make_sweep(tmp_path / "sweep", [("A", "256")], spec=Spec(num_images=8))
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from vgg_sweep.report.report import report\n"
        "def made(*formats):\n"
        "    report([Path('sweep')], tables=None, formats=formats, out=Path('out'), fuse=[], console=Console())\n"
        "made('md', 'csv'); assert not {'matplotlib', 'jinja2'} & sys.modules.keys()\n"
        "made('html'); assert not {'torch', 'torchvision', 'matplotlib.pyplot'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


# --- in a browser ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, html: str, tmp_path: Path) -> Iterator[Any]:
    """The page from disk; at the end it must have asked for nothing and complained of nothing."""
    (tmp_path / "report.html").write_text(html)
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"file://{tmp_path}/report.html")
    yield tab
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [f"file://{tmp_path}/report.html"]
    tab.close()


def column(tab: Any, id: str, heading: str) -> list[str]:
    """The cells of the first column with this heading, of the rows that show."""
    return tab.evaluate(
        """([id, heading]) => {
            const table = document.getElementById(id);
            const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === heading);
            const shown = [...table.tBodies[0].rows].filter((row) => row.checkVisibility());
            return shown.map((row) => row.cells[at].textContent);
        }""",
        [id, heading],
    )


def test_chromium_shows_every_table_with_the_numbers_of_the_json(opened: Any, contents: Contents) -> None:
    for name in ("3", "4", "5", "6"):
        errors = [shown_number(None if error != error else error) for error in contents.frames[name]["top1_error"]]
        assert column(opened, f"table-{name}", "top-1") == errors
    assert column(opened, "table-claims", "verdict") == list(contents.frames["claims"]["verdict"])
    assert opened.title() == f"{HOSTILE_SWEEP} · vgg-sweep report"


def test_a_heading_sorts_its_column_both_ways_and_dashes_stay_last(opened: Any, contents: Contents) -> None:
    heading = opened.locator("#table-3 thead th", has_text="top-1")
    errors = [shown_number(error) for error in sorted(contents.frames["3"]["top1_error"].dropna())]
    heading.get_by_role("button").click()
    assert column(opened, "table-3", "top-1") == [*errors, "–"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert column(opened, "table-3", "top-1") == [*reversed(errors), "–"]
    opened.locator("#table-claims thead th", has_text="p").last.get_by_role("button").click()


def test_the_filter_leaves_the_nets_that_were_chosen(opened: Any) -> None:
    assert len(set(column(opened, "table-3", "config"))) == 6
    for name in ("A", "A-LRN", "B", "B-5x5", "E", "jitter"):
        opened.locator(".filter label", has_text=re.compile(f"^{re.escape(name)}$")).click()
    assert column(opened, "table-3", "config") == ["C", "C", "D", "D"]
    assert column(opened, "table-6", "nets")[0].startswith("D-256 + D-384")
    assert len(column(opened, "table-7", "system")) == 15 - 2  # without E-jitter, alone and with D-jitter
    faded = opened.locator("#depth svg use.out").count()
    assert 0 < faded < opened.locator("#depth svg use").count()
    opened.locator(".filter button").click()
    opened.locator(".out").first.wait_for(state="detached")


def test_a_mark_says_its_value_under_the_pointer(opened: Any, contents: Contents) -> None:
    mark = opened.locator("#depth svg use[data-nets]").last
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    assert re.match(r"\d+\.\d % \(95 %: ", opened.locator(".tip").inner_text())


ONE_OF_EACH = ("header", "nav", ".filter", "#claims", "#depth", "#table-3", "#images li:first-child", "pre", "footer")
"""Where the contrast of text is looked at, which takes long: each kind of thing once."""


def faults(tab: Any, include: Sequence[str], **options: Any) -> list[tuple[str, str]]:
    """What axe-core finds wrong: rule and element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(tab, {"include": list(include)}, {"resultTypes": ["violations"]} | options)
    return [(fault["id"], node["html"]) for fault in found.response["violations"] for node in fault["nodes"]]


def test_axe_finds_no_fault(opened: Any) -> None:
    opened.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert faults(opened, ["html"], rules={"color-contrast": {"enabled": False}}) == []


@pytest.mark.parametrize(("scheme", "width_px"), [("light", 1280), ("dark", 390)])
def test_text_has_contrast_and_nothing_is_wider_than_the_window(opened: Any, scheme: str, width_px: int) -> None:
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width_px, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") == width_px
    assert faults(opened, ONE_OF_EACH, runOnly=["color-contrast"]) == []


def test_no_table_is_cut_off_in_print(opened: Any) -> None:
    """On A4 between Chromium's margins: 718 px."""
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 718, "height": 1000})
    widths = opened.evaluate("[...document.querySelectorAll('table')].map((table) => [table.id, table.offsetWidth])")
    assert [name for name, width in widths if width > 718] == []


def test_the_page_is_whole_without_scripts(browser: Any, html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html)
    tab = browser.new_context(java_script_enabled=False).new_page()
    tab.goto(f"file://{tmp_path}/report.html")
    assert tab.locator("table").count() == html.count("<table")
    assert not tab.locator(".filter").is_visible()
    tab.close()
