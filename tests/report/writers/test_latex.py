import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from tests.sweeps import TABLE3, Spec, make_sweep
from vgg_sweep.report.report import report
from vgg_sweep.report.tables.table import TextColumn, TextTable
from vgg_sweep.report.writers.latex import MAX_ROWS, PACKAGES, document, escaped, to_latex

HOSTILE = [
    r"\input{/etc/passwd}",
    r"\end{tabular}\end{table}\end{document}",
    "100 % & $x_1^2$ # ~ {",
    "[2ex] -- --- ,, << >> ?` \"a\" 'b'",
    "*|\\",
    "naïve Straße Ø 猫 🐈 e\u0301 \x07 \t\nnext",
    "^^41 ^^M",
]


def compiled(folder: Path, file: str) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex; Debian has it as texlive-latex-recommended")
    words = ["pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", file]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & a_b", r"50 \% \& a\_b"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("21.6–29.2 ± 1", r"21.6\textendash{}29.2 $\pm$ 1"),
        (r"\x{1}", r"\textbackslash{}x\{1\}"),
        ("猫é", "U+732Bé"),
        ("e\u0301\x00\n", "é  "),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_hostile_names_compile_in_every_place(tmp_path: Path) -> None:
    wide = TextColumn(HOSTILE[2], HOSTILE, wrap=8, is_number=False)
    table = TextTable("../x y", HOSTILE[0], [TextColumn("[1]", HOSTILE, is_number=False), wide], HOSTILE, [])
    (tmp_path / "report.tex").write_text(document([table], HOSTILE, HOSTILE))
    compiled(tmp_path, "report.tex")
    assert "root:" not in (tmp_path / "report.log").read_text(errors="replace")


def test_a_long_table_goes_on_in_another_with_its_notes_at_the_end() -> None:
    text = to_latex(TextTable("3", "Title", [TextColumn("n", [f"r{n}" for n in range(MAX_ROWS + 1)])], ["A note."], []))
    first, second = text.split(r"\clearpage")
    assert "(1 of 2)" in first and "A note." not in first and f"r{MAX_ROWS - 1} " in first
    assert "(2 of 2)" in second and "A note." in second and f"r{MAX_ROWS} " in second
    assert len(set(re.findall(r"\\label{(.*)}", text))) == 2


def test_the_demo_s_tables_compile_alone_and_in_another_document(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "a sweep_1", TABLE3, seeds=[0, 1], spec=Spec(num_images=20))
    report([sweep], tables=None, formats=["latex"], out=tmp_path, fuse=["C-jitter-s0 + D-384-s1"], console=Console())
    compiled(tmp_path, "report.tex")
    tables = sorted(path.stem for path in tmp_path.glob("*.tex") if path.stem != "report")
    assert "table3" in tables and "claims" in tables
    inputs = "\n".join(rf"\input{{{table}}}" for table in tables)
    head = rf"\documentclass[twocolumn]{{article}}\usepackage[T1]{{fontenc}}\usepackage{{{','.join(PACKAGES)}}}"
    (tmp_path / "paper.tex").write_text(rf"{head}\begin{{document}}{inputs}\end{{document}}")
    compiled(tmp_path, "paper.tex")


def test_ours_stand_beside_the_paper_s(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256")], spec=Spec(num_images=20))
    report([tmp_path], tables=["3"], formats=["latex"], out=tmp_path / "out", fuse=[], console=Console())
    text = (tmp_path / "out" / "table3.tex").read_text()
    row = next(line for line in text.splitlines() if line.strip().startswith("A &"))
    assert [cell.strip() for cell in row.split("&")][:5] == ["A", "73", "73", "256", "256"]
    assert " 29.6 " in row and " 10.4 " in row and r"\toprule" in text
