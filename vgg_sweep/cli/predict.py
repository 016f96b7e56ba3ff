"""The command that classifies images with a trained net: predict."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from vgg_sweep.cli.app import app
from vgg_sweep.cli.naming import complete_run, run_folder
from vgg_sweep.errors import ConfigError, RunError


@app.command()
def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="D-jitter, an id or its beginning, SWEEP/D-jitter, a run's folder, or a .safetensors file.",
            autocompletion=complete_run,
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER...", help="Images, or folders of them.")],
    protocol: Annotated[
        Literal["single", "multi", "centre", "crops", "all"],
        typer.Option(help="Evaluation: dense at one Q or several, a centre crop, or crops and dense."),
    ] = "single",
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    csv: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write a CSV file, one row per class.")] = None,
    map_class: Annotated[
        str | None,
        typer.Option("--map", metavar="CLASS", help="Draw a heat map of this class; or `top`, the best of each image."),
    ] = None,
    map_Q_px: Annotated[
        int | None,
        typer.Option(
            "--map-q", min=1, metavar="PX", help="Smallest side for the map; default: the largest Q of multi."
        ),
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Draw the predicted box; needs a run of task=localise.")
    ] = False,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the maps and boxes.")] = Path("maps"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Classify images with a trained net, or see where a class is.

    Unreadable images are reported, and the exit code is then 1.
    """
    from vgg_sweep.cli.predictions import OutputOptions, show_boxes, show_classes
    from vgg_sweep.machine.hardware import choose_hardware
    from vgg_sweep.predict.boxes import localiser_of
    from vgg_sweep.predict.predict import find_images, protocols
    from vgg_sweep.predict.trained import load

    paths = find_images(images)
    where_it_is = Path(run) if Path(run).is_file() else run_folder(run).path
    loaded = load(where_it_is)
    if boxes and map_class is not None:
        raise ConfigError("--map and --boxes are two different pictures; give only one.")
    if map_Q_px is not None and map_Q_px < loaded.config.crop:
        raise ConfigError(
            f"--map-q {map_Q_px} is smaller than the crop of {loaded.config.crop} px; give at least that."
        )
    if csv is not None and not csv.absolute().parent.is_dir():
        raise ConfigError(f"--csv {csv}: {csv.parent} is not a folder; make it first.")
    hardware = choose_hardware(replace(loaded.config, device=device, precision="auto", threads=0))
    options = OutputOptions(protocols(loaded, protocol), top, as_json, csv, map_class, map_Q_px, out)
    if boxes:
        num_unreadable = show_boxes(localiser_of(where_it_is, loaded, hardware), loaded.classes, paths, options)
    else:
        num_unreadable = show_classes(loaded, paths, hardware, options)
    if num_unreadable:
        raise RunError(f"{num_unreadable} of {len(paths)} images could not be read; the others are done.")
