"""The report in Markdown."""

from vgg_sweep.report.tables.contents import Contents
from vgg_sweep.report.tables.table import TextTable


def document(report: Contents) -> str:
    """All tables, after how much of the sweeps is there; commands for what is missing at the end."""
    head = ["# Report\n", "\n".join(f"- {line.strip()}" for line in report.summary) + "\n"]
    commands = "\n".join(["## To fill the missing rows\n", "```", *report.commands, "```"]) if report.commands else ""
    return "\n".join([*head, *map(to_markdown, report.tables), commands]).rstrip() + "\n"


def to_markdown(table: TextTable) -> str:
    """A heading, the table, and its notes."""
    lines = [[column.head for column in table.columns], *table.lines]
    rows = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    rule = "|" + "|".join("---:" if column.is_number else "---" for column in table.columns) + "|"
    above = [*table.above, *(["\n".join(["```", *table.more, "```"])] if table.more else [])]
    return "\n\n".join([f"## {table.title}", *above, "\n".join([rows[0], rule, *rows[1:]]), *table.notes]) + "\n"
