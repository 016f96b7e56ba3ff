"""The words beyond Table 1: BN, skip, stride 2 and avgpool; what they mean and what is refused."""

import pytest

from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import net_macs, num_params, output_sides, parse_columns

POOLS = ["maxpool"] * 4


def parsed(words, crop=32, **settings):
    return parse_columns(words, **{"width": 1, "classes": 10, "crop": crop, **settings})


def column(name):
    return load_option("model", name).columns


@pytest.mark.parametrize(("name", "conv"), [("A", 8), ("B", 10), ("D", 13), ("E", 16), ("F", 24), ("G", 34)])
def test_a_bn_net_is_its_plain_net_with_bn_behind_each_conv(name, conv):
    """torchvision counts 132,868,840 for vgg11_bn: A's parameters and 2 * 2752 of scale and shift."""
    words, plain = column(f"{name}-BN"), column(name)
    assert [word for word in words if word != "BN"] == plain
    assert words.count("BN") == conv == sum("conv" in word for word in plain)
    assert all("conv" in words[place - 1] for place, word in enumerate(words) if word == "BN")
    channels = sum(int(word.split("-")[1]) for word in plain if "conv" in word)
    more = sum(map(num_params, parsed(words))) - sum(map(num_params, parsed(plain)))
    assert more == 2 * channels


def test_parameters_of_torchvisions_vgg11_bn():
    assert sum(map(num_params, parsed(column("A-BN"), crop=224, classes=1000))) == 132_868_840


@pytest.mark.parametrize("name", ["A", "E", "F", "G", "A-BN", "E-BN", "F-BN", "G-BN"])
def test_a_residual_twin_has_equal_parameters_and_multiply_adds(name):
    plain, twin = parsed(column(name)), parsed(column(f"{name}-skip"))
    assert [word for word in column(f"{name}-skip") if word != "skip"] == column(name)
    assert sum(layer.kind == "skip" for layer in twin) == {"A": 3, "E": 7, "F": 11, "G": 16}[name[0]]
    assert sum(map(num_params, plain)) == sum(map(num_params, twin))
    for side in (32, 64):
        assert net_macs(plain, side, 32, pool_ceil=True) == net_macs(twin, side, 32, pool_ceil=True)


MILLION_MACS = {20: 40.55, 56: 125.49, 110: 252.89}
"""As papers on pruning give them for ResNet-20, -56 and -110 on CIFAR-10."""


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_the_nets_of_he_for_cifar(depth, millions):
    """Parameters as in Table 6 of He et al., but for our convolutions' biases."""
    plain, residual = parsed(column(f"plain-{depth}")), parsed(column(f"res-{depth}"))
    assert sum(layer.has_weights for layer in plain) == sum(layer.has_weights for layer in residual) == depth
    biases = sum(layer.out_channels for layer in residual if layer.kind == "conv")
    assert (sum(map(num_params, residual)) - biases) / 1e6 == pytest.approx(millions, abs=0.05 if depth > 56 else 0.006)
    macs = [net_macs(layers, 32, 32, pool_ceil=False) for layers in (plain, residual)]
    assert macs[0] == macs[1]
    if depth in MILLION_MACS:
        assert macs[0] / 1e6 == pytest.approx(MILLION_MACS[depth], abs=0.02)
    assert output_sides(residual, 32, pool_ceil=False)[-3:] == [8, 1, 1]
    assert [layer.name for layer in residual if layer.stride == 2] == ["conv2_1", "conv3_1"]


def test_a_projection_has_its_own_parameters():
    words = ["conv3-4", "conv3-8/2", "BN", "conv3-8", "BN", "skip-1x1", "conv3-8", "conv3-8", "skip-1x1", "avgpool"]
    skips = [layer for layer in parsed(words) if layer.kind == "skip"]
    assert [num_params(layer) for layer in skips] == [4 * 8 + 2 * 8, 0]  # where nothing changes, the shortcut is free
    more = net_macs(parsed(words), 32, 32, pool_ceil=False) - net_macs(
        parsed([word.removesuffix("-1x1") for word in words]), 32, 32, pool_ceil=False
    )
    assert more == 16 * 16 * 4 * 8


def test_skips_are_named_by_stage_and_block():
    names = [layer.name for layer in parsed(column("F-BN-skip")) if layer.kind == "skip"]
    assert names[:3] == ["skip2_1", "skip2_2", "skip3_1"]
    assert names[-1] == "skip5_3"


BLOCK = ["conv3-8", "conv3-8", "skip"]
REFUSED = [
    (["skip", "conv3-8"], "skip stands at the start of the column"),
    ([*BLOCK, "maxpool"], "skip behind conv1_1 stands at the start .* would be the image"),
    (["conv3-8", "skip", "maxpool"], "skip has only conv1_1 before it"),
    (["conv3-8", *BLOCK, "skip"], "skip stands right behind skip1_1"),
    (["conv3-8", *BLOCK, "conv3-8", "skip"], "skip has only conv1_4 behind skip1_1"),
    (["conv3-8", "maxpool", "skip"], "skip stands right behind pool1"),
    (["conv3-8", "conv3-8", "maxpool", "conv3-8", "skip"], "skip would go over pool1, where the size changes"),
    (["conv3-8", *BLOCK, "conv3-8", "maxpool"], "the block that begins with conv1_4 is not closed"),
    (["conv3-8", *BLOCK, "conv3-8", "BN", "conv3-8", "BN"], "the block that begins with conv1_4 is not closed"),
    (["conv3-8", "maxpool", "conv3-4", "conv3-4", "skip"], "would bring 8 channels to 4, .* use skip-1x1"),
    (["conv3-8", *BLOCK, "BN"], "'BN' is not a layer of Table 1.* BN right after a conv"),
    (["avgpool"], "'avgpool' is not a layer"),
    (["conv3-8", "avgpool", "conv3-8"], "'avgpool' is not a layer .* avgpool at the end"),
    (["conv3-8/4"], "'conv3-8/4' is not a layer"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_what_is_no_block_is_refused(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parsed([*words, *["maxpool"] * 5])


def test_a_block_that_halves_in_its_second_conv_is_refused():
    words = ["conv3-8", "conv3-8", "conv3-8/2", "skip", "avgpool"]
    with pytest.raises(ConfigError, match=r"skip would go over a change of size at conv2_1; .* the first .* stride 2"):
        parsed(words)


def test_a_column_deeper_than_the_crop_allows_is_refused():
    words = [*["conv3-8/2"] * 6, "avgpool"]
    with pytest.raises(ConfigError, match="crop=32 is not a multiple of 64, .* halves the image 6 times; .*crop=64"):
        parsed(words)
    assert parsed(words, crop=64)[-2].kernel == 1
