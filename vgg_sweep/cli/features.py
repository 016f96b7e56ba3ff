"""Commands on features of trained nets: features, transfer."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import ConfigDir, app, completed
from vgg_sweep.cli.naming import run_folder
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.features.store import Feature, FeatureFolder
    from vgg_sweep.images.sets.probe_set import ProbeSet
    from vgg_sweep.runs.folder import RunFolder


def complete_probe(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of a run's name or of KEY=VALUE; settings of features and probes may leave out `transfer.`."""
    from vgg_sweep.config.transfer import Transfer
    from vgg_sweep.config.vocabulary import schema_fields
    from vgg_sweep.features.store import SCALES

    own = {name: field.rules.choices for name, field in schema_fields(Transfer).items()} | {"scales": tuple(SCALES)}
    return completed(context, args, incomplete, own, or_run=True)


Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|KEY=VALUE",
        help="Runs, such as D-jitter, and settings, such as data=caltech101 data.root=DIR layers=fc7.",
        autocompletion=complete_probe,
    ),
]


@app.command()
def features(words: Words, config_dir: ConfigDir = None) -> None:
    """Compute features of a set's images with trained nets.

    vgg-sweep features RUN data=folder data.root=DIR layers=fc7,pool5 scales=256,384

    Each view goes through the net once, densely; the activations are averaged over their positions (Appendix B) and
    stored in the run's features/, a float32 [N, C] .npy per layer, Q and flip. Repeat the command to continue.
    """
    from vgg_sweep.cli import compose

    runs, overrides = sorted_words(words)

    def task(config: "Config") -> None:
        from vgg_sweep.features.store import wanted_features
        from vgg_sweep.machine.launch import is_first_process
        from vgg_sweep.plan.folders import read_run

        folders = [run_folder(name) for name in runs]
        probed = open_set(config, folders)
        for folder in folders:
            wanted = wanted_features(config.transfer, read_run(folder).config.crop, probed.regions)
            made = compute_features(folder, config, probed, wanted)
            layers = ", ".join(dict.fromkeys(f"{each.layer} [{len(probed.images):,}, C]" for each in wanted))
            if is_first_process():
                typer.echo(f"Features of {layers}: {made.path}, {len(wanted)} files")

    compose.run(task, overrides, compose.Flags(config_dir))


def sorted_words(words: list[str]) -> tuple[list[str], list[str]]:
    """The runs, and the settings; those of features and probes may leave out `transfer.`, and lists their brackets."""
    from vgg_sweep.config.transfer import Transfer

    runs = [word for word in words if "=" not in word or Path(word).exists()]
    if not runs:
        raise ConfigError("no run is given; name its folder or id (`vgg-sweep status` lists those of a sweep).")
    own = {each.name: callable(each.default_factory) for each in fields(Transfer)}
    overrides = []
    for word in (word.strip() for word in words if word not in runs):
        key, _, value = word.partition("=")
        name = {"layer": "layers"}.get(key, key).removeprefix("transfer.")
        if name in own:
            value = f"[{value}]" if own[name] and not value.startswith("[") else value
            word = f"transfer.{name}={value}"
        overrides.append(word)
    return runs, overrides


def open_set(config: "Config", folders: Iterable["RunFolder"]) -> "ProbeSet":
    """The images of `config.data`, for the nets in `folders`; says what was noticed when they were listed.

    Raises `ConfigError`, before that, for a net that is not trained or lacks a requested layer.
    """
    from vgg_sweep.cli.screen import shown_progress
    from vgg_sweep.images.sets.probe_set import open_probe_set
    from vgg_sweep.predict.trained import check_layers

    for folder in folders:
        check_layers(folder, config.transfer.layers)
    with shown_progress("list") as progress:
        probed = open_probe_set(config, progress)
    for note in probed.notes:
        typer.echo(f"note: {note}", err=True)
    return probed


def compute_features(
    folder: "RunFolder", config: "Config", probed: "ProbeSet", wanted: "list[Feature]"
) -> "FeatureFolder":
    """The features of `wanted` by the net in `folder`; those that are there are not computed again."""
    from vgg_sweep.features.compute import compute
    from vgg_sweep.features.store import FeatureFolder
    from vgg_sweep.machine.hardware import choose_hardware
    from vgg_sweep.machine.ranks import join_ranks
    from vgg_sweep.predict.trained import load
    from vgg_sweep.runs.folder import RunFolder
    from vgg_sweep.runs.progress import Reporter

    made, fingerprint = FeatureFolder.of(folder, config.data.name, probed.fingerprint), folder.weights_fingerprint()
    if not made.missing(wanted) and made.manifest()["weights_fingerprint"] == fingerprint:
        return made
    loaded, ranks = load(folder.path), join_ranks(config.device)
    own = replace(loaded.config, device=config.device, precision=config.precision, tf32=config.tf32,
                  layout=config.layout, threads=config.threads, workers=config.workers)  # fmt: skip
    loaded, hardware = replace(loaded, config=own), choose_hardware(own)
    work_folder = RunFolder(made.path)
    reporter = Reporter(work_folder, live=True, mute=not ranks.is_first)
    with work_folder.locked() if ranks.is_first else nullcontext():
        if ranks.is_first:
            work_folder.remove_leftovers()
        with reporter.running():
            compute(loaded, fingerprint, made, probed, wanted, hardware, reporter, ranks)
    return made
