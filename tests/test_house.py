"""The house as docs/architecture.md draws it: imports point down, only cli prints, what plans and reports is free of
torch, and it fits in the head.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

PACKAGE = ROOT / "vgg_sweep"
ROOMS = ("errors", "protocols", "localise", "config", "runs", "plan", "machine", "images", "nets", "train", "score",
         "predict", "features", "transfer", "exchange", "sweep", "report", "bench", "cli")  # fmt: skip
"""From the bottom to the top."""

TORCH_FREE = ("errors", "protocols", "localise", "config", "runs", "plan", "report")
LONGEST_MODULE = 350
MOST_LINES = 29_000
"""Of all rooms, with those of capabilities beyond the paper's Tables 3 to 7; to be lowered as rooms get simpler."""
LONGEST_SPINE = 3_000

PRINTS = {
    "runs/progress.py": "what a run says while it works, in whatever process works on it",
    "sweep/work.py": "the process of one run, which has no command line of its own: its last words go to stderr",
}
"""Modules outside cli that write to the terminal, with the reason."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name == "errors.py")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, such as vgg_sweep.plan.runs; a name of a package is one too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> set[tuple[str, str]]:
    """Module and room of each import from another room."""
    found = set()
    for path in modules():
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("vgg_sweep.")}
        found |= {(name_of(path), room) for room in rooms & set(ROOMS) - {room_of(path)}}
    return found


def test_every_module_has_a_room() -> None:
    assert {room_of(path) for path in modules()} == set(ROOMS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py", "version.py"}


def test_imports_point_down() -> None:
    """So there is no cycle between rooms either."""
    upward = {(name, room) for name, room in arrows() if ROOMS.index(room) > ROOMS.index(room_of(PACKAGE / name))}
    assert upward == set()


def test_no_module_imports_the_package_itself() -> None:
    """It offers `load` and `load_results`, and so would tie all rooms together."""
    names = {f"vgg_sweep.{name}" for name in (*ROOMS, "version")}
    found = {name for path in modules() for name in imported(path) if name.partition(".")[0] == "vgg_sweep"}
    assert {name for name in found if ".".join(name.split(".")[:2]) not in names} == set()


def test_what_plans_and_reports_needs_no_torch() -> None:
    """Its modules are imported where importing torch is an error."""
    names = [name_of(path).removesuffix(".py").replace("/", ".") for path in modules() if room_of(path) in TORCH_FREE]
    assert {name.partition(".")[0] for name in names} == set(TORCH_FREE)
    code = "import sys; sys.modules['torch'] = None\n" + "\n".join(f"import vgg_sweep.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_only_cli_prints() -> None:
    """No other module calls print, writes to the standard streams, or makes a Console of Rich."""
    prints = re.compile(r"(?<![\w.])print\(|sys\.(stdout|stderr)\.write|(?<![\w.])Console\(|typer\.echo")
    found = {name_of(path) for path in modules() if room_of(path) != "cli" and prints.search(path.read_text())}
    assert found == set(PRINTS)


def test_modules_are_short_and_few() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}
    assert sum(lengths.values()) <= MOST_LINES


def test_the_spine_is_named_with_its_lines() -> None:
    """docs/architecture.md lists the files from the command line to Table 3, each as | `path` | lines | ... |."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    spine = re.findall(r"^\| `(vgg_sweep/[^`]+)` \| (\d+) \|", text, flags=re.MULTILINE)
    assert spine
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name, _ in spine}
    assert {name: int(lines) for name, lines in spine} == lengths
    assert sum(lengths.values()) <= LONGEST_SPINE


def test_every_text_file_names_its_encoding() -> None:
    """What a run writes is read the same under every locale."""
    unnamed = []
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
                continue
            match call.func:
                case ast.Name("open"):
                    mode = call.args[1] if len(call.args) > 1 else ast.Constant("r")
                    names_it = isinstance(mode, ast.Constant) and "b" in str(mode.value)
                case ast.Attribute(attr="read_text" | "write_text"):
                    names_it = False
                case _:
                    continue
            if not names_it:
                unnamed.append(f"{name_of(path)}:{call.lineno}")
    assert unnamed == []


def test_no_assertion_guards_what_users_give() -> None:
    """PYTHONOPTIMIZE takes assertions away, so nothing may count on one of ours; torch and submitit raise some."""
    found = {name_of(path) for path in modules() if re.search(r"except.*AssertionError", path.read_text())}
    assert found == {"machine/hardware.py", "sweep/executors/queue.py"}
