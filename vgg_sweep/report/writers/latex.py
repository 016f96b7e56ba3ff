"""Tables for a paper in LaTeX: booktabs, each a file for `\\input`, and a document that compiles as it is."""

import re
import unicodedata
from collections.abc import Sequence

from vgg_sweep.report.tables.table import TextColumn, TextTable

PACKAGES = ("booktabs", "array", "graphicx")
"""What a document needs for the tables: all in LaTeX's recommended collection."""

MAX_ROWS = 40
"""Rows of a table that fit a page; a longer one goes on in another."""

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "×": r"$\times$",
    "…": r"\ldots{}",
}


def escaped(text: str) -> str:
    """`text` as LaTeX prints it, whatever is in it. Letters that its fonts lack are written as U+4E2D."""
    plain = "".join(map(_character, unicodedata.normalize("NFC", text)))
    plain = re.sub(r"([-,])(?=\1)", r"\1{}", plain)  # no ligatures: two hyphens stay two
    return ("{}" if plain.startswith(("[", "*")) else "") + plain  # no option of the command before it


def _character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isspace() or character.isascii():
        return character if character.isprintable() else " "
    return character if "À" <= character <= "ÿ" else f"U+{ord(character):04X}"


def to_latex(table: TextTable) -> str:
    """One `table` environment; several for more rows than fit a page."""
    parts = [table.lines[start : start + MAX_ROWS] for start in range(0, len(table.lines), MAX_ROWS)]
    label = f"tab:vgg-{re.sub('[^A-Za-z0-9]', '', table.name)}"
    pages = []
    for number, part in enumerate(parts, start=1):
        part_of = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        caption = escaped(re.sub(r"^(?=Table \d)", "The paper's ", table.title) + part_of)
        lines = [
            r"\begin{table}[!htbp]",
            r"  \centering\small",
            rf"  \caption{{{caption}}}",
            rf"  \label{{{label}{f'-{number}' if number > 1 else ''}}}",
            *_shrunk(_tabular(table.columns, part)),
        ]
        if table.above and number == 1:
            commands = (rf"\texttt{{{escaped(command)}}}" for command in table.more)
            above = r" \par ".join([*map(escaped, table.above), *commands])
            lines.insert(4, rf"  \parbox{{\linewidth}}{{\footnotesize\raggedright {above}}}\par\smallskip")
        if table.notes and number == len(parts):
            notes = r" \par ".join(map(escaped, table.notes))
            lines.append(rf"  \par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}")
        pages.append("\n".join([*lines, r"\end{table}"]))
    needs = f"% needs \\usepackage{{{','.join(PACKAGES)}}} and \\usepackage[T1]{{fontenc}}\n"
    return needs + "\n\\clearpage\n".join(pages) + "\n"


def _shrunk(tabular: Sequence[str]) -> list[str]:
    """Made narrower if it is wider than the text, and left as it is if not."""
    wide, as_it_is = r"\resizebox{\linewidth}{!}{\usebox0}", r"\usebox0"
    return [r"  \sbox0{%", *tabular, rf"  }}\ifdim\wd0>\linewidth {wide}\else {as_it_is}\fi"]


def _tabular(columns: Sequence[TextColumn], rows: Sequence[Sequence[str]]) -> list[str]:
    kinds = "".join("r" if column.is_number else _text_kind(column) for column in columns)
    lines = [map(_head, columns), *(map(escaped, row) for row in rows)]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    inner = [r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return [rf"    \begin{{tabular}}{{@{{}}{kinds}@{{}}}}", *(f"      {line}" for line in inner), r"    \end{tabular}%"]


def _text_kind(column: TextColumn) -> str:
    """Text that wraps in a terminal wraps here: a letter is about half an em wide."""
    if not column.wrap or max(map(len, [column.head, *column.cells])) <= column.wrap:
        return "l"
    return rf">{{\raggedright\arraybackslash}}p{{{column.wrap / 2}em}}"


def _head(column: TextColumn) -> str:
    lines = [escaped(line) for line in column.head.split("\n")]
    return r"\shortstack{" + r"\\".join(lines) + "}" if len(lines) > 1 else lines[0]


def document(tables: Sequence[TextTable], summary: Sequence[str], commands: Sequence[str]) -> str:
    """A document of all tables, ready to compile."""
    report = [rf"\item {escaped(line.strip())}" for line in summary]
    dashes = [rf"\item \texttt{{{escaped(command)}}}" for command in commands]
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
            r"\usepackage[margin=2.5cm]{geometry}",
            rf"\usepackage{{{','.join(PACKAGES)}}}",
            r"\begin{document}",
            r"\section*{Report}",
            *_listed(report),
            *(part for table in tables for part in (to_latex(table), r"\clearpage")),
            *([r"\section*{To fill the missing rows}", *_listed(dashes)] if dashes else []),
            r"\end{document}",
            "",
        ]
    )


def _listed(items: Sequence[str]) -> list[str]:
    return [r"\begin{itemize}\sloppy\raggedright", *items, r"\end{itemize}"]
