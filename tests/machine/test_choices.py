"""What is left `auto`: chosen by what was measured, not by what the processor claims; kept; made anew if damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_config
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.machine import choices, measure
from vgg_sweep.machine.choices import Choice, ComputeMode, choice_notes, fastest_way
from vgg_sweep.nets import fastest
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.nets.fastest import fastest_choice, net_pieces
from vgg_sweep.protocols.seals import sealed, unsealed

CPU = torch.device("cpu")


def way(precision: str, layout: str = "channels-last", tf32: str = "none") -> ComputeMode:
    return ComputeMode(precision, tf32, layout)


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are of what measurements say, whatever the test run is told to take for fast."""
    monkeypatch.delenv(choices.FASTEST, raising=False)
    choices._all_kept.cache_clear()


def timed(monkeypatch: pytest.MonkeyPatch, seconds: dict[ComputeMode, float]) -> list[str]:
    """Let the pieces of a net take `seconds` an image. Returns a list that grows by a word with each measurement."""
    calls: list[str] = []

    def told(pieces: object, ways: list[ComputeMode], *_: object, **__: object) -> dict[ComputeMode, float]:
        calls.append("measured")
        return {each: seconds[each] for each in ways}

    monkeypatch.setattr(measure, "_seconds_per_image", told)
    return calls


def open_config(tmp_path: Path, **settings: object) -> Config:
    return tiny_config(tmp_path, **{"precision": "auto", "layout": "auto"} | settings)  # type: ignore[arg-type]


# The figures of four machines, as images a second: Emerald Rapids with and without AMX, Zen 5, AVX2 (bf16 emulated).
@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({("fp32", "nchw"): 206, ("fp32", "cl"): 234, ("bf16", "nchw"): 417, ("bf16", "cl"): 1664}, ("bf16", "cl")),
        ({("fp32", "nchw"): 226, ("fp32", "cl"): 290, ("bf16", "nchw"): 158, ("bf16", "cl"): 174}, ("fp32", "cl")),
        ({("fp32", "nchw"): 2.4, ("fp32", "cl"): 2.9, ("bf16", "nchw"): 5.5, ("bf16", "cl"): 3.7}, ("bf16", "nchw")),
        ({("fp32", "nchw"): 1.02, ("fp32", "cl"): 1.0, ("bf16", "nchw"): 0.1, ("bf16", "cl"): 0.1}, ("fp32", "cl")),
    ],
)
def test_the_fastest_is_taken_if_it_is_clearly_so(
    speeds: dict[tuple[str, str], float], chosen: tuple[str, str]
) -> None:
    names = {"cl": "channels-last", "nchw": "nchw"}
    seconds = {way(precision, names[layout]): 1 / speed for (precision, layout), speed in speeds.items()}
    assert fastest_way(seconds) == way(chosen[0], names[chosen[1]])


@pytest.mark.parametrize(("gain", "precision"), [(1.29, "fp32"), (1.31, "bf16")])
def test_a_reduced_precision_has_to_be_worth_it(gain: float, precision: str) -> None:
    assert fastest_way({way("fp32"): gain, way("bf16"): 1.0}).precision == precision


def test_on_a_gpu_tf32_is_a_reduced_precision_too() -> None:
    plain, rounded, half = (way("fp32", tf32="convolutions"), way("fp32", tf32="all"), way("bf16", tf32="convolutions"))
    assert fastest_way({plain: 1.0, rounded: 0.9, half: 0.8}) == plain
    assert fastest_way({plain: 1.0, rounded: 0.7, half: 0.5}) == half
    assert fastest_way({plain: 1.0, rounded: 0.7, half: 0.9}) == rounded


def test_a_choice_is_measured_once_for_a_net_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {way(p, layout): 1.0 for p in ("fp32", "bf16") for layout in ("channels-last", "nchw")}
    calls = timed(monkeypatch, seconds | {way("bf16"): 0.25})
    config = open_config(tmp_path)
    first = fastest_choice(config, 3, pytest.fail, training=True)
    assert first.way == way("bf16")
    assert first.chosen_from == {
        "fp32 channels-last": 1.0, "fp32 nchw": 1.0, "bf16 channels-last": 0.25, "bf16 nchw": 1.0,
    }  # fmt: skip
    assert fastest_choice(config, 3, pytest.fail, training=True) == first
    assert len(calls) == 1
    others = [(open_config(tmp_path, model="B"), 3), (open_config(tmp_path, crop=64), 3), (config, 4)]
    for count, (other, num_classes) in enumerate(others, 2):
        fastest_choice(other, num_classes, pytest.fail, training=True)
        assert len(calls) == count
    monkeypatch.setattr(fastest, "hardware_name", lambda device: "another machine")
    fastest_choice(config, 3, pytest.fail, training=True)
    assert len(calls) == 5


def test_scores_are_fp32_unless_another_precision_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {way(p, layout): 1.0 for p in ("fp32", "bf16") for layout in ("channels-last", "nchw")}
    timed(monkeypatch, seconds | {way("bf16"): 0.01})
    left_open, asked_for = open_config(tmp_path), open_config(tmp_path, precision="bf16")
    assert fastest_choice(left_open, 3, lambda text: None, training=False).way.precision == "fp32"
    assert fastest_choice(asked_for, 3, lambda text: None, training=False).way.precision == "bf16"
    assert fastest_choice(left_open, 3, lambda text: None, training=True).way.precision == "bf16"


def of_another_machine(kept: dict[str, Any]) -> dict[str, Any]:
    return kept | {"of": kept["of"] | {"device": "not " + kept["of"]["device"]}}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "is damaged (JSONDecodeError); the fastest way is measured again"),
        (lambda text: text.replace('"fp32"', '"fp8"'), "is damaged (ValueError)"),
        (lambda text: "[]", "is damaged (TypeError)"),
        (lambda text: sealed(of_another_machine(unsealed(text))), "was measured elsewhere, on not "),
    ],
)
def test_a_damaged_choice_or_that_of_another_machine_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object, said: str
) -> None:
    calls = timed(monkeypatch, {way("fp32"): 1.0, way("bf16"): 2.0})
    config = open_config(tmp_path, layout="channels-last")
    first = fastest_choice(config, 3, pytest.fail, training=True)
    [kept] = (tmp_path / "cache" / "choices").glob("*.json")
    kept.write_text(damage(kept.read_text()))  # type: ignore[operator]
    notes: list[str] = []
    assert fastest_choice(config, 3, notes.append, training=True) == first
    assert len(calls) == 2 and len(notes) == 1 and said in notes[0]
    assert fastest_choice(config, 3, pytest.fail, training=True) == first


def test_what_is_named_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = timed(monkeypatch, {})
    named = open_config(tmp_path, precision="fp32", layout="nchw", micro_batch=2)
    assert fastest_choice(named, 3, pytest.fail, training=True) == Choice(way("fp32", "nchw"), 2)
    assert calls == [] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_environment_can_say_what_is_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    calls = timed(monkeypatch, {})
    monkeypatch.setenv("VGG_SWEEP_FASTEST", precision)
    config = open_config(tmp_path)
    assert fastest_choice(config, 3, pytest.fail, training=True).way == way(precision)
    assert fastest_choice(config, 3, pytest.fail, training=False).way == way("fp32")
    assert fastest_choice(open_config(tmp_path, precision="fp32"), 3, pytest.fail, training=True).way == way("fp32")
    assert calls == []


def test_a_named_precision_that_is_slow_is_said_with_the_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = open_config(tmp_path, precision="bf16", layout="nchw", micro_batch=2)
    for factor, said in ((11.6, ["precision=bf16 takes 11.6 times as long as fp32 here"]), (1.1, [])):
        monkeypatch.setattr(fastest, "slowdown", lambda device, precision, factor=factor: factor)
        notes: list[str] = []
        fastest_choice(config, 3, notes.append, training=True)
        assert [note.partition(",")[0] for note in notes] == said


def test_a_precision_that_is_not_available_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(fastest, "slowdown", fail)
    with pytest.raises(ConfigError, match=r"precision=fp16 cannot be computed on CPU, .* use precision=fp32 or auto"):
        fastest_choice(open_config(tmp_path, precision="fp16"), 3, pytest.fail, training=True)


def test_a_tiny_net_is_really_measured_in_a_moment(tmp_path: Path) -> None:
    choice = fastest_choice(open_config(tmp_path), 3, pytest.fail, training=True)
    assert len(choice.chosen_from) == 4 and min(choice.chosen_from.values()) > 0
    assert choice.micro_batch == 0, "all of a batch of a few small images"
    [kept] = (tmp_path / "cache" / "choices").glob("*.json")
    assert json.loads(kept.read_text())["of"]["device"] == choices.cpu_name()


@pytest.mark.parametrize("model", ["A", "C", "E"])
def test_the_pieces_stand_for_all_convolutions(tmp_path: Path, model: str) -> None:
    config = tiny_config(tmp_path, model, crop=64, width=1 / 8)
    layers = parse_columns(config.model.columns, width=config.width, classes=5, crop=64)
    features = [layer for layer in layers if layer.kind != "fc"]
    *convolutions, fully_connected = net_pieces(config, 5)
    stands_for = sum(piece.macs * piece.share for piece in convolutions)
    assert stands_for == pytest.approx(net_macs(features, 64, 64, pool_ceil=False))
    fc_weights = 2 * 2 * 64 * 512 + 512 * 512 + 512 * 5  # fc6 sees 2x2 of 64 channels
    assert fully_connected.macs * fully_connected.share == pytest.approx(fc_weights, rel=0.02)


def test_a_choice_in_words() -> None:
    assert Choice(way("fp32"), 4, {}).in_words() == "fp32 channels-last"
    assert Choice(way("fp32"), 4, {"4 at once": 1.0}).in_words() == "fp32 channels-last"
    assert Choice(way("bf16"), 0, {"bf16 channels-last": 1.0}).in_words() == "bf16 channels-last"
    figures = {"fp32 channels-last": 4.0, "fp32 nchw": 3.0, "bf16 channels-last": 1.0}
    assert Choice(way("bf16"), 0, figures).in_words() == "bf16 channels-last, 3.0 times as fast as fp32"


def test_a_hopeless_way_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = {way("fp32"): 1.0, way("bf16"): 12.0}
    turns: dict[ComputeMode, int] = dict.fromkeys(ticks, 0)

    def count(each: ComputeMode) -> None:
        turns[each] += 1

    def work(piece: object, each: ComputeMode, *_: object) -> object:
        return lambda: count(each)

    def seconds_of(work: object, device: object) -> float:
        before = dict(turns)
        work()  # type: ignore[operator]
        return next(ticks[each] for each in turns if turns[each] != before[each])

    monkeypatch.setattr(measure, "_work", work)
    monkeypatch.setattr(measure, "seconds_of", seconds_of)
    monkeypatch.setattr(measure, "PIECE_SECONDS", 0.0)
    pieces = net_pieces(tiny_config(tmp_path), 3)
    seconds = measure._seconds_per_image(pieces, list(ticks), CPU, 1, training=True)
    assert seconds[way("bf16")] == pytest.approx(12 * seconds[way("fp32")])
    assert turns == {way("fp32"): 4 * len(pieces), way("bf16"): 2}


def test_a_micro_batch_is_as_small_as_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 224 px 8, 16 and 32 images are tried; here 16 and 32 are equally fast."""
    pace = {8: 0.08, 16: 0.1, 32: 0.2}
    monkeypatch.setattr(measure, "_work", lambda piece, way, device, size, training: size)
    monkeypatch.setattr(measure, "seconds_of", lambda size, device: pace[size])
    pieces = [measure.Piece(torch.nn.Identity(), (3, 1, 1), 10, 2.0, True)]
    size, tried = measure._micro_batch(pieces, way("fp32"), CPU, crop=224, batch_size=256)
    assert size == 16
    assert tried == {"8 at once": 0.02, "16 at once": 0.0125, "32 at once": 0.0125}


def test_a_plan_says_what_will_be_chosen_or_that_it_will_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, {way("fp32"): 1.0, way("bf16"): 0.4})
    configs = [open_config(tmp_path, model=model, layout="channels-last") for model in ("A", "B")]
    [said] = choice_notes(configs)
    assert said == "A, B: precision and micro_batch measured when training begins."
    fastest_choice(configs[0], 3, pytest.fail, training=True)
    choices._all_kept.cache_clear()
    known, unknown = choice_notes(configs)
    assert known.startswith("A: trained in bf16 channels-last, 2.5 times as fast as fp32, as measured on ")
    assert unknown.startswith("B: precision and micro_batch measured")
    monkeypatch.setenv(choices.FASTEST, "fp32")
    assert choice_notes(configs) == ["A, B: VGG_SWEEP_FASTEST=fp32 decides precision and micro_batch."]
    assert choice_notes([open_config(tmp_path, precision="fp32", layout="nchw", micro_batch=8)]) == []
