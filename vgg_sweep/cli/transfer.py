"""The command transfer: features of trained nets, probed on another set (Appendix B)."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgg_sweep.cli.app import ConfigDir, app
from vgg_sweep.cli.features import Words, compute_features, open_set, sorted_words
from vgg_sweep.cli.naming import run_folder

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.config.transfer import Transfer
    from vgg_sweep.images.sets.probed import ProbedSet
    from vgg_sweep.runs.folder import RunFolder
    from vgg_sweep.transfer.records import Probed


@app.command()
def transfer(
    words: Words,
    stack: Annotated[
        list[str] | None,
        typer.Option(metavar="'RUN + RUN'", help="Also probe nets whose features are stacked; may be repeated."),
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Measure how well features of trained nets serve on another set.

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


@dataclass(frozen=True)
class _Net:
    """A run, or several stacked."""

    runs: "list[RunFolder]"
    crop: int


def probe_nets(config: "Config", names: list[str], stacks: list[str], overrides: list[str]) -> None:
    """Compute what features are missing, probe them, and show the tables."""
    from vgg_sweep.errors import ConfigError
    from vgg_sweep.features.wanted import probed_features
    from vgg_sweep.machine.launch import num_processes
    from vgg_sweep.transfer.splits import Labelled, probe_splits, resolved

    if num_processes() > 1:
        raise ConfigError("transfer probes in one process; compute the features first: torchrun -m vgg_sweep features.")
    asked = resolved(config.transfer, config.data.source)
    groups = [*([name] for name in names), *([part.strip() for part in spec.split("+")] for spec in stacks)]
    found = {name: run_folder(name) for name in dict.fromkeys(name for group in groups for name in group)}
    nets = [_net([found[name] for name in group]) for group in groups]
    probed_set = open_set(config)
    probe_splits(_labelled(probed_set), asked)  # what can be refused is, before anything is computed
    folders = {run.path: run for net in nets for run in net.runs}
    crops = {run.path: net.crop for net in nets for run in net.runs}
    made = {
        path: compute_features(run, config, probed_set, probed_features(asked, crops[path], probed_set.regions))
        for path, run in folders.items()
    }
    manifests = {path: each.manifest() for path, each in made.items()}
    images = Labelled.of(next(iter(manifests.values())))
    splits = probe_splits(images, asked)
    records: list[Probed] = []
    for net in nets:
        paths = [run.path for run in net.runs]
        parts = ([made[path] for path in paths], [manifests[path] for path in paths])
        records += _ways(net, *parts, config, asked, probed_set.regions)
    _run(records, images, splits, overrides)
    _show([run for net in nets for run in net.runs])


def _net(runs: "list[RunFolder]") -> _Net:
    """Raises `ConfigError` for nets of different crops, whose scales would differ."""
    from vgg_sweep.errors import ConfigError
    from vgg_sweep.plan.folders import read_run

    crops = {read_run(run).config.crop for run in runs}
    if len(crops) > 1:
        ids = " + ".join(run.id for run in runs)
        raise ConfigError(f"--stack '{ids}': the nets have crops of {sorted(crops)} px; stack nets of one crop.")
    return _Net(runs, crops.pop())


def _labelled(probed: "ProbedSet") -> Any:
    from vgg_sweep.transfer.splits import Labelled

    return Labelled(list(probed.images.ids), probed.labels, probed.is_test_N, probed.classes, metric=probed.metric)


def _ways(net: _Net, folders: Any, manifests: Any, config: "Config", asked: "Transfer", regions: Any) -> "list[Probed]":
    """The records of a net: as asked, few-shot, other aggregations, controls."""
    from vgg_sweep.transfer.records import Probed
    from vgg_sweep.transfer.ways import aggregated, as_asked, controls

    def record(how: Any, shots: int | None = None) -> Probed:
        return Probed(net.runs, folders, config.data.name, config.data.source, how, asked, shots, manifests)

    found = [record(how) for how in as_asked(asked, net.crop, regions)]
    found += [record(found[0].how, shots) for shots in sorted(set(asked.shots))]
    if asked.aggregations:
        found += [record(how) for how in aggregated(asked, net.crop)]
    if asked.controls and len(net.runs) == 1:
        found += [record(how) for how in controls(asked, net.crop)]
    return list({each.file: each for each in found}.values())


def _run(records: "list[Probed]", images: Any, splits: Any, overrides: list[str]) -> None:
    """Make the records that are not there whole; a signal stops between two steps of an SVM."""
    from vgg_sweep.runs.folder import RunFolder
    from vgg_sweep.runs.progress import Reporter
    from vgg_sweep.transfer.probe import probe

    todo, began = [each for each in records if len(each.found()) < len(splits)], time.monotonic()
    for number, each in enumerate(todo):
        place = RunFolder(each.file.parent)
        reporter = Reporter(place, live=True)

        def on_step(done: int, total: int, C: float, before: int = number, reporter: Reporter = reporter) -> None:
            share = (before + (done + 1) / (total + 1)) / len(todo)
            eta_seconds = round((time.monotonic() - began) * (1 - share) / share)
            reporter.step(f"probe {before + 1} of {len(todo)}", done, total, C=C, eta_seconds=eta_seconds)
            reporter.check_stop()

        with place.locked():
            place.remove_leftovers()
            with reporter.running():
                probe(each, images, splits, on_step, overrides)


def _show(runs: "list[RunFolder]") -> None:
    from rich.console import Console

    from vgg_sweep.report.report import show_probes

    show_probes(runs, Console())
