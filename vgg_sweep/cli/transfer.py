"""The command transfer: features of trained nets, probed on another set (Appendix B)."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgg_sweep.cli.app import ConfigDir, app
from vgg_sweep.cli.features import Words, compute_features, open_set, sorted_words
from vgg_sweep.cli.naming import complete_stack, run_folder
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.runs.folder import RunFolder
    from vgg_sweep.transfer.records import Probe


@app.command()
def transfer(
    words: Words,
    stack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'RUN + RUN'",
            help="Also probe nets whose features are stacked; may be repeated.",
            autocompletion=complete_stack,
        ),
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Measure how well features of nets transfer to another set.

    vgg-sweep transfer D-jitter E-jitter --stack 'D-jitter + E-jitter' data=caltech101 data.root=DIR

    Linear SVMs on L2-normalised features, one class against the rest, as in Appendix B: Table 11. Further settings:
    layers=fc7, scales=multi or five or pixels, pool=mean, aggregations=true, shots=1,2,4. Features and results stay in
    the runs' folders; repeat the command to continue.
    """
    from vgg_sweep.cli import compose

    runs, overrides = sorted_words(words)

    def task(config: "Config") -> None:
        probe_nets(config, runs, stack or [], overrides)

    compose.run(task, overrides, compose.Flags(config_dir))


def probe_nets(config: "Config", names: list[str], stacks: list[str], overrides: list[str]) -> None:
    """Compute what features are missing, probe them, and show the tables."""
    from rich.console import Console

    from vgg_sweep.machine.launch import num_processes
    from vgg_sweep.report.report import show_probes
    from vgg_sweep.transfer.descriptors import ways
    from vgg_sweep.transfer.records import Probe
    from vgg_sweep.transfer.splits import Labelled, probe_splits, resolved

    if num_processes() > 1:
        raise ConfigError(
            "transfer runs in one process; compute the features first, by torchrun -m vgg_sweep features."
        )
    asked = resolved(config.transfer, config.data.source)
    groups = [*([name] for name in names), *([part.strip() for part in spec.split("+")] for spec in stacks)]
    found = {name: run_folder(name) for name in dict.fromkeys(name for group in groups for name in group)}
    nets = [[found[name] for name in group] for group in groups]  # runs, of which several are stacked
    crops = [_crop(runs) for runs in nets]
    probed_set = open_set(config, found.values())
    known = (list(probed_set.images.ids), probed_set.labels, probed_set.is_test_N, probed_set.classes)
    probe_splits(Labelled(*known, metric=probed_set.metric), asked)  # what can be refused is, before all computing
    made = {}
    for run, crop in {run: crop for runs, crop in zip(nets, crops, strict=True) for run in runs}.items():
        wanted = [feature for how in ways(asked, crop, probed_set.regions) for feature in how.features]
        made[run.path] = compute_features(run, config, probed_set, list(dict.fromkeys(wanted)))
    manifests = {path: each.manifest() for path, each in made.items()}
    images = Labelled.of(next(iter(manifests.values())))
    splits = probe_splits(images, asked)
    records: list[Probe] = []
    for runs, crop in zip(nets, crops, strict=True):
        paths = [run.path for run in runs]
        parts = [made[path] for path in paths], [manifests[path] for path in paths]
        hows = ways(asked, crop, probed_set.regions, of_stack=len(paths) > 1)
        probes = [*((how, None) for how in hows), *((hows[0], shots) for shots in sorted(set(asked.shots)))]
        about = (runs, parts[0], config.data.name, config.data.source)
        records += [Probe(*about, how, asked, shots, parts[1]) for how, shots in probes]
    _run(records, images, splits, overrides)
    show_probes([run for runs in nets for run in runs], Console())


def _crop(runs: "list[RunFolder]") -> int:
    """The crop of the nets. Raises `ConfigError` if they have several, whose scales would differ."""
    from vgg_sweep.plan.folders import read_run

    crops = {read_run(run).config.crop for run in runs}
    if len(crops) > 1:
        ids = " + ".join(run.id for run in runs)
        raise ConfigError(f"--stack '{ids}': the nets have crops of {sorted(crops)} px; stack nets of the same crop.")
    return crops.pop()


def _run(records: "list[Probe]", images: Any, splits: Any, overrides: list[str]) -> None:
    """Make the records that are not there whole; a signal stops between two steps of an SVM."""
    from vgg_sweep.runs.folder import RunFolder
    from vgg_sweep.runs.progress import Reporter
    from vgg_sweep.transfer.probe import probe

    todo, began = [each for each in records if len(each.found()) < len(splits)], time.monotonic()
    for number, each in enumerate(todo):
        folder = RunFolder(each.file.parent)
        reporter = Reporter(folder, live=True)

        def on_step(done: int, total: int, C: float, before: int = number, reporter: Reporter = reporter) -> None:
            share = (before + (done + 1) / (total + 1)) / len(todo)
            eta_seconds = round((time.monotonic() - began) * (1 - share) / share)
            reporter.step(f"probe {before + 1} of {len(todo)}", done, total, C=C, eta_seconds=eta_seconds)
            reporter.check_stop()

        with folder.locked():
            folder.remove_leftovers()
            with reporter.running():
                probe(each, images, splits, on_step, overrides)
