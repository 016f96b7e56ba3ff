"""Tables 1 and 2 and the arithmetic of Sect. 2.3 as tables of text, for `vgg-sweep describe` and the page."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from operator import itemgetter
from typing import Any

from vgg_sweep.config.schema import Config, Model
from vgg_sweep.nets.blocks import SKIPS
from vgg_sweep.nets.describe import describe, kernel_comparison, layers_table, paper_table1
from vgg_sweep.protocols import paper
from vgg_sweep.report.tables.table import Column, TextTable, number, text

PAPER_CLASSES = 1000
WORDS_OF_E = 21
"""Of the longest column of Table 1, without the FC layers."""

COUNTED = (
    "Parameters: weights and biases. Multiply-adds: one for each weight of a convolution or FC layer at each output "
    "position. Activations: float32, the image and the output of every layer, as training keeps them; in testing, the "
    "largest input and output of one layer. Field: receptive field of one position of the class score map."
)


def size_of(config: Config, image_px: int | None) -> dict[str, Any]:
    """The size at which `describe` looks at nets: that of `config`, applied to one image of side `image_px`.

    Where the number of classes is left to the data, it is that of the fractals, or the paper's 1000: no file is read.
    """
    classes = config.data.fractals.num_classes if config.data.source == "fractals" else PAPER_CLASSES
    return {
        "width": config.width,
        "classes": config.classes or classes,
        "crop": config.crop,
        "image_px": image_px or config.crop,
        "pool_ceil": config.pool_ceil,
    }


def net_values(models: Sequence[Model], size: Mapping[str, Any], *, layer_by_layer: bool) -> list[dict[str, Any]]:
    """All figures of the nets at this size; with `layer_by_layer`, those of the first net's layers too."""
    nets = [{**size, **row} for row in describe(models, **size)]
    return [{**nets[0], "layers": layers_table(models[0], **size)}] if layer_by_layer else nets


def net_tables(models: Sequence[Model], size: Mapping[str, Any]) -> list[TextTable]:
    """Table 1, Sect. 2.3, and Table 2 with what the nets cost at this size.

    Table 1 leaves out the nets with words that it has not, and those that are deeper; one net alone it shows always.
    """
    beyond = {"BN", *SKIPS, "avgpool"}
    of_table1 = [each for each in models if len(each.columns) <= WORDS_OF_E and not beyond & set(each.columns)]
    of_table1 = [*models] if len(models) == 1 else of_table1
    in_words = "width {width:g}, {classes} classes, crop {crop} px, image of {image_px} px".format(**size)
    channels = round(512 * size["width"])
    kernels = [
        text("stack"),
        number("receptive_field", "field (px)", 0),
        number("weights", f"weights at C = {channels}", 0),
        Column("in_general", "in general", lambda row: f"{row['weights_in_channels_squared']} C²"),
    ]
    costs = [
        text("config"),
        number("weight_layers", "layers", 0),
        *_COSTS,
        number("activation_bytes_testing", "in testing\n(MB)", 3, factor=1e-6, sign=","),
        _FIELD,
    ]
    return [
        *([table1(of_table1, size["classes"], size["width"])] if of_table1 else []),
        TextTable.of("kernels", "Sect. 2.3. Stacked 3x3 kernels, and large ones", kernels, kernel_comparison(channels)),
        TextTable.of("table-2", f"Table 2, and costs: {in_words}", costs, describe(models, **size)),
    ]


def layer_tables(model: Model, size: Mapping[str, Any]) -> list[TextTable]:
    """One net layer by layer, and what it costs."""
    columns = [
        text("name"),
        text("word"),
        number("output_side", "side", 0),
        number("output_channels", "channels", 0),
        *_COSTS,
        _FIELD,
    ]
    layers = TextTable.of("layers", "Layer by layer", columns, layers_table(model, **size))
    return [layers, net_tables([model], size)[-1]]


def table1(models: Sequence[Model], num_classes: int, width: float = 1.0) -> TextTable:
    """The columns of the nets, from the image to the class posteriors, with the channels that they have at `width`."""
    known = {*paper.params_millions(), "B-5x5"}
    columns = [Column(each.name, each.name, itemgetter(each.name), drop=each.name not in known) for each in models]
    rows = paper_table1(models, classes=num_classes, width=width)
    as_made = f", with the channels that they have at width {share(width)}" if width != 1 else ""
    return TextTable.of("table-1", f"Table 1. The nets, from the image to the class posteriors{as_made}", columns, rows)


def share(width: float) -> str:
    """1/16 for 0.0625; 0.3 as it is."""
    parts = Fraction(width).limit_denominator(64)
    return str(parts) if parts.numerator == 1 and float(parts) == width else f"{width:g}"


_COSTS = (
    number("params", "params\n(M)", 3, factor=1e-6, sign=","),
    number("macs", "mult-adds\n(M)", 3, factor=1e-6, sign=","),
    number("activation_bytes", "activations\n(MB)", 3, factor=1e-6, sign=","),
)
_FIELD = number("receptive_field_px", "field\n(px)", 0)
