"""What `vgg-sweep describe` shows: Tables 1 and 2 for a terminal, or all figures as JSON."""

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from vgg_sweep.config.schema import Config, Model
from vgg_sweep.nets.describe import Row, describe, kernel_comparison, layers_table, paper_table1

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
        rows = [size | row for row in nets]
        if layers is not None:
            rows[0]["layers"] = layers
        print(json.dumps(rows, indent=1))
        return
    if layers is not None:
        console.print(_table("Layer by layer", _in_units(layers)))
    else:
        columns = paper_table1(models, classes=size["classes"])
        console.print(_table("Table 1. The nets, from the image to the class posteriors", columns))
        channels = round(512 * config.width)
        kernels = [_kernels(row, channels) for row in kernel_comparison(channels)]
        console.print(_table("Sect. 2.3. Stacks of small kernels, and large ones", kernels))
    said = f"width {config.width:g}, {size['classes']} classes, crop {config.crop} px, image of {size['image_px']} px"
    console.print(_table(f"Table 2, and costs: {said}", _in_units(nets)))
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


def _kernels(row: Row, channels: int) -> Row:
    return {
        "stack": row["stack"],
        "field (px)": row["receptive_field"],
        f"weights at C = {channels}": row["weights"],
        "in general": f"{row['weights_in_channels_squared']} C²",
    }


def _in_units(rows: list[Row]) -> list[Row]:
    """With headings; millions of parameters and multiply-adds, and megabytes of 10^6 bytes."""
    return [{_heading(key): _in_unit(key, value) for key, value in row.items() if key != "conv_layers"} for row in rows]


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key)


def _in_unit(key: str, value: object) -> object:
    return f"{value / 1e6:,.3f}" if "(M" in _heading(key) and isinstance(value, int) else value


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in rows[0]:
        is_number = all(str(row[name]).replace(",", "").replace(".", "").isdigit() for row in rows)
        table.add_column(name, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table
