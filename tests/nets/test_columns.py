import pytest

from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import net_macs, num_params, output_side, output_sides, parse_columns, receptive_fields

PARAMS = {  # at 1000 classes: A, B, D, E as torchvision states them; the others by hand from Table 1
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
    "B-5x5": 134_503_528,
}
STAGE = ["conv3-64", "maxpool"]


def layers_of(name, width=1.0, classes=1000, crop=224):
    return parse_columns(load_option("model", name).columns, width=width, classes=classes, crop=crop)


@pytest.mark.parametrize("name", PARAMS)
def test_parameters(name):
    assert sum(map(num_params, layers_of(name))) == PARAMS[name]


@pytest.mark.parametrize(("name", "giga"), [("A", 7.6), ("B", 11.3), ("D", 15.5), ("E", 19.6)])
def test_multiply_adds_at_224(name, giga):
    assert round(net_macs(layers_of(name), 224, 224, pool_ceil=True) / 1e9, 1) == giga


def test_multiply_adds_of_an_oblong_image_count_both_sides():
    layers = parse_columns(["conv3-2"] + ["maxpool"] * 5, width=1, classes=7, crop=32)
    conv = 32 * 64 * 9 * 3 * 2
    fc_on_two_positions = 2 * (2 * 4096 + 4096 * 4096 + 4096 * 7)
    assert net_macs(layers, 32, 64, pool_ceil=True) == conv + fc_on_two_positions


def test_layers_have_the_usual_names_and_the_words_of_table_1():
    layers = layers_of("A-LRN")
    assert [layer.name for layer in layers] == (
        "conv1_1 norm1 pool1 conv2_1 pool2 conv3_1 conv3_2 pool3 "
        "conv4_1 conv4_2 pool4 conv5_1 conv5_2 pool5 fc6 fc7 fc8"
    ).split()
    assert [layer.word for layer in layers[-3:]] == ["FC-4096", "FC-4096", "FC-1000"]
    assert [layer.word for layer in layers[:3]] == ["conv3-64", "LRN", "maxpool"]


def test_width_scales_hidden_layers_only():
    layers = layers_of("D", width=1 / 4, classes=10)
    assert layers[0].in_channels == 3
    assert layers[0].out_channels == 16
    assert [layer.out_channels for layer in layers[-3:]] == [1024, 1024, 10]
    assert min(layer.out_channels for layer in layers_of("D", width=1e-9)[:-1]) == 1


@pytest.mark.parametrize("crop", [32, 64, 224])
def test_the_first_fc_layer_sees_the_whole_crop(crop):
    layers = layers_of("C", crop=crop)
    assert output_sides(layers, crop, pool_ceil=True)[-4:] == [crop // 32, 1, 1, 1]


def test_receptive_fields_of_stacked_kernels():
    """Sect. 2.3: two 3x3 see 5x5, three see 7x7."""
    layers = parse_columns(["conv3-64"] * 3 + ["maxpool"] * 5, width=1, classes=10, crop=32)
    assert receptive_fields(layers)[:3] == [3, 5, 7]


def test_the_shallow_net_sees_what_b_sees():
    """Sect. 4.1 replaces each pair of 3x3 by one 5x5 with the same receptive field."""
    assert receptive_fields(layers_of("B-5x5"))[-1] == receptive_fields(layers_of("B"))[-1]


@pytest.mark.parametrize(("image_px", "floor", "ceil"), [(240, 7, 8), (341, 10, 11), (682, 21, 22), (224, 7, 7)])
def test_pooling_rounds_odd_sides(image_px, floor, ceil):
    """Sides of the last feature map under Torch's rounding and under Caffe's."""
    layers = layers_of("A")[:-3]
    assert output_sides(layers, image_px, pool_ceil=False)[-1] == floor
    assert output_sides(layers, image_px, pool_ceil=True)[-1] == ceil


@pytest.mark.parametrize("word", ["conv3", "conv3-0", "conv2-64", "conv3x64", "LRN5", "M", "FC-4096", ""])
def test_an_unknown_word_is_refused_with_the_known_ones(word):
    with pytest.raises(ConfigError, match=f"'{word}' is not a layer of Table 1; use maxpool, LRN or conv"):
        parse_columns([word] + STAGE * 5, width=1, classes=10, crop=32)


@pytest.mark.parametrize(("crop", "nearest"), [(50, 64), (33, 32), (0, 32), (-64, 32), (225, 224)])
def test_a_crop_that_poolings_do_not_divide_is_refused_with_the_nearest(crop, nearest):
    with pytest.raises(ConfigError, match=f"crop={crop} is not a multiple of 32.*crop={nearest}"):
        parse_columns(STAGE * 5, width=1, classes=10, crop=crop)


@pytest.mark.parametrize("num_pools", [0, 4, 6])
def test_a_net_has_five_poolings(num_pools):
    with pytest.raises(ConfigError, match=f"{num_pools} maxpool"):
        parse_columns(["conv3-64"] + ["maxpool"] * num_pools, width=1, classes=10, crop=32)


def test_an_image_smaller_than_the_crop_is_refused():
    fc6 = layers_of("A")[-3]
    assert output_side(fc6, 7, pool_ceil=True) == 1
    with pytest.raises(ConfigError, match="fc6 needs 7 positions a side and gets 6"):
        output_side(fc6, 6, pool_ceil=True)
