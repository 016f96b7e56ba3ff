"""Scales by hand, and a sentence for each setting that cannot be."""

import pytest
from omegaconf import OmegaConf

from tests.plan.test_plan import config
from vgg_sweep.config.checks import checked
from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols.methods import parse_pass, scaled_px, test_scales

test_scales.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("px", "at_64"),
    [(224, 64), (256, 73), (384, 110), (512, 146), (288, 82), (352, 101), (416, 119)],
)
def test_lengths_scale_with_the_crop(px: int, at_64: int) -> None:
    assert scaled_px(px, 224) == px
    assert scaled_px(px, 64) == at_64


@pytest.mark.parametrize(
    ("S", "single", "multi"),
    [
        ([256, 256], [256], [224, 256, 288]),
        ([384, 384], [384], [352, 384, 416]),
        ([256, 512], [384], [256, 384, 512]),
    ],
)
def test_the_test_scales_of_sections_4_1_and_4_2(S: list[int], single: list[int], multi: list[int]) -> None:
    assert test_scales(S, "single", 224) == single
    assert test_scales(S, "multi", 224) == multi


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("crop=50", "crop=50 is not a multiple of 32.*crop=32 or crop=64"),
        ("crop=-32", "crop=-32 must be greater than 0"),
        (
            "recipe.init=magic",
            "recipe.init=magic is not known; choose one of normal, literal, glorot, he",
        ),
        ("recipe.dropout=1", "recipe.dropout=1.0 must be at least 0 and less than 1"),
        ("recipe.lr=inf", "recipe.lr=inf must be a finite number"),
        ("workers=-1", "workers=-1 must be at least 0"),
        ("data.val_share=1", "data.val_share=1.0 must be greater than 0 and less than 1"),
        ("train_scale.S=[300,256]", r"\[smallest, largest\]"),
        ("train_scale.S=[200,256]", "smaller than the crop"),
        ("jobs=many", "jobs=many"),
        (
            "protocol.passes=[sparse@single]",
            "'sparse@single'; write METHOD@Q with a method of dense",
        ),
        ("protocol.passes=[dense@48]", "Q=48 px is smaller than the crop of 64 px"),
        ("boxes=scr", "boxes is for nets that predict boxes; add task=localise"),
        ("localise.lr=0.1", "localise is for nets that predict boxes"),
        ("task=localise imported.sha256=0", "task=localise is for nets that are trained here"),
        ("task=localise protocol.passes=[ten-crop@single]", "'ten-crop@single', but boxes are .* dense and from the"),
    ],
)
def test_what_cannot_be_is_one_sentence(setting: str, sentence: str) -> None:
    raw = OmegaConf.merge(OmegaConf.structured(config("D")), OmegaConf.from_dotlist(setting.split()))
    with pytest.raises(ConfigError, match=sentence) as refused:
        checked(raw)
    assert "\n" not in str(refused.value)


def test_a_pass_names_its_method_and_scales() -> None:
    assert parse_pass("dense@multi", [256, 512], 224) == ("dense", [256, 384, 512])
    assert parse_pass("centre-crop@300", [256, 256], 224) == ("centre-crop", [300])
