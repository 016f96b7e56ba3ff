import subprocess
import sys

import pandas as pd
import pytest

from tests.nets.test_columns import PARAMS
from tests.paths import FACTS
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.describe import describe, kernel_comparison, layers_table, paper_table1

MODELS = [load_option("model", name) for name in PARAMS]
AT_224 = {"width": 1.0, "classes": 1000, "crop": 224, "image_px": 224, "pool_ceil": True}


def test_a_row_for_each_net():
    table = pd.DataFrame(describe(MODELS, **AT_224)).set_index("config")
    assert table["params"].to_dict() == PARAMS
    assert table["conv_layers"].to_dict() == {"A": 8, "A-LRN": 8, "B": 10, "C": 13, "D": 13, "E": 16, "B-5x5": 5}
    assert table["receptive_field_px"]["D"] == 212 + 6 * 32  # pool5 of D sees 212 px; fc6 adds six steps of 32


def test_weight_layers_and_columns_are_those_of_table_1():
    """Between the printed stages stands maxpool; below the last, as for all nets, the FC layers."""
    printed = pd.read_csv(FACTS / "table_1.csv", index_col="net")
    table = pd.DataFrame(describe(MODELS[:6], **AT_224)).set_index("config")
    assert table["weight_layers"].to_dict() == printed["weight layers"].to_dict()
    words = pd.DataFrame(paper_table1(MODELS[:6], classes=1000))
    assert list(printed.index) == list(words.columns)
    for name, row in printed.filter(like="stage").iterrows():
        expected = [*" maxpool ".join(row).split(), "maxpool", "FC-4096", "FC-4096", "FC-1000", "soft-max"]
        assert [word for word in words[name] if word] == expected


def test_table_1_has_equal_stages_at_equal_height():
    words = pd.DataFrame(paper_table1(MODELS, classes=20))
    pooled = (words == "maxpool").sum(axis=1)
    assert set(pooled) == {0, len(MODELS)}
    assert (words.iloc[-2] == "FC-20").all()


def test_activation_bytes_by_hand():
    """A at 224: image, then each stage's outputs, in floats."""
    floats = 3 * 224**2
    floats += 64 * (224**2 + 112**2) + 128 * (112**2 + 56**2) + 256 * (2 * 56**2 + 28**2)
    floats += 512 * (2 * 28**2 + 14**2) + 512 * (2 * 14**2 + 7**2) + 4096 + 4096 + 1000
    [row] = describe(MODELS[:1], **AT_224)
    assert row["activation_bytes"] == 4 * floats
    assert row["activation_bytes_testing"] == 4 * 64 * (224**2 + 112**2)  # pool1 has the largest input and output


@pytest.mark.parametrize("image_px", [224, 384])
def test_layers_add_up_to_the_net(image_px):
    settings = AT_224 | {"image_px": image_px}
    for model in MODELS:
        [net] = describe([model], **settings)
        layers = pd.DataFrame(layers_table(model, **settings))
        assert layers["params"].sum() == net["params"]
        assert layers["macs"].sum() == net["macs"]
        assert layers["activation_bytes"].sum() + 4 * 3 * image_px**2 == net["activation_bytes"]
        assert layers["receptive_field_px"].iloc[-1] == net["receptive_field_px"]
        assert layers["output_side"].iloc[-1] == image_px // 32 - 6


def test_kernels_of_section_2_3():
    """Three 3x3 see what a 7x7 sees with 27 C^2 weights against 49 C^2; two 3x3 what a 5x5 sees."""
    table = kernel_comparison(10)
    assert [(row["receptive_field"], row["weights"], row["weights_in_channels_squared"]) for row in table] == [
        (5, 1800, 18),
        (5, 2500, 25),
        (7, 2700, 27),
        (7, 4900, 49),
    ]


def test_an_image_smaller_than_the_crop_is_refused():
    with pytest.raises(ConfigError, match="at least the crop"):
        describe(MODELS, **AT_224 | {"image_px": 192})


def test_needs_no_torch():
    code = "import sys, vgg_sweep.nets.describe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_table_1_has_the_channels_of_the_width() -> None:
    rows = pd.DataFrame(paper_table1(MODELS[:6], classes=20, width=1 / 16))
    assert rows["C"].iloc[0] == "conv3-4" and "conv1-16" in rows["C"].tolist() and "conv1-32" in rows["C"].tolist()
    assert rows["A"].tolist()[-4:] == ["FC-256", "FC-256", "FC-20", "soft-max"]
