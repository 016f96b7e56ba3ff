"""What `vgg-sweep describe` shows: Tables 1 and 2 for a terminal, or all figures as JSON."""

import json
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from vgg_sweep.config import Config, Model
from vgg_sweep.describe import describe, kernel_comparison, layers_table, paper_table1

PAPER_CLASSES = 1000
COUNTED = (
    "params: weights and biases. mult-adds: one for each weight of a convolution or FC layer at each output position. "
    "activations: float32, the image and the output of every layer, as training keeps them; in testing, the largest "
    "input and output of one layer. field: receptive field of one position of the class score map."
)


def show(
    config: Config, models: list[Model], *, layer_by_layer: bool, as_json: bool, image_px: int | None, console: Console
) -> None:
    """Show `models` at the size that `config` says; with `layer_by_layer`, there is one of them.

    Where the number of classes is left to the data, it is that of the fractals, or the paper's 1000: no file is read.
    """
    classes = config.data.fractals.num_classes if config.data.source == "fractals" else PAPER_CLASSES
    size: dict[str, Any] = {
        "width": config.width,
        "classes": config.classes or classes,
        "crop": config.crop,
        "image_px": image_px or config.crop,
        "pool_ceil": config.pool_ceil,
    }
    nets = describe(models, **size)
    layers = layers_table(models[0], **size) if layer_by_layer else None
    if as_json:
        rows = [size | row for row in nets.to_dict("records")]
        if layers is not None:
            rows[0]["layers"] = layers.to_dict("records")
        print(json.dumps(rows, indent=1))
        return
    if layers is not None:
        console.print(_table("Layer by layer", _in_units(layers)))
    else:
        columns = paper_table1(models, classes=size["classes"])
        console.print(_table("Table 1. The nets, from the image to the class posteriors", columns))
        channels = round(512 * config.width)
        kernels = kernel_comparison(channels).assign(
            weights_in_channels_squared=lambda frame: frame["weights_in_channels_squared"].astype(str) + " C²"
        )
        kernels.columns = pd.Index(["stack", "field (px)", f"weights at C = {channels}", "in general"])
        console.print(_table("Sect. 2.3. Stacks of small kernels, and large ones", kernels))
    said = f"width {config.width:g}, {size['classes']} classes, crop {config.crop} px, image of {size['image_px']} px"
    console.print(_table(f"Table 2, and costs: {said}", _in_units(nets.drop(columns="conv_layers"))))
    console.print(COUNTED, style="dim")


_HEADINGS = {
    "weight_layers": "layers",
    "output_side": "side",
    "output_channels": "channels",
    "params": "params (M)",
    "macs": "mult-adds (M)",
    "activation_bytes": "activations (MB)",
    "activation_bytes_testing": "in testing (MB)",
    "receptive_field_px": "field (px)",
}


def _in_units(frame: pd.DataFrame) -> pd.DataFrame:
    """With headings; millions of parameters and multiply-adds, and megabytes of 10^6 bytes."""
    frame = frame.rename(columns=_HEADINGS)
    in_millions = [heading for heading in _HEADINGS.values() if "(M" in heading and heading in frame]
    return frame.assign(**{heading: (frame[heading] / 1e6).map("{:,.3f}".format) for heading in in_millions})


def _table(title: str, frame: pd.DataFrame) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in frame:
        table.add_column(str(name), justify="right" if _is_number(frame[name]) else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


def _is_number(column: "pd.Series[Any]") -> bool:
    return all(str(value).replace(",", "").replace(".", "").isdigit() for value in column)
