"""What `bench` measures and concludes; that it is fast is no test."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.bench.beside import score_beside, train_beside
from tests.bench.bottleneck import bottleneck
from tests.bench.lrn import bench_lrn
from tests.bench.plain import COLUMNS, plain_net
from tests.bench.settings import advice, bench_settings
from tests.conftest import Outcome
from tests.tiny import tiny_config
from vgg_sweep.bench import timing
from vgg_sweep.bench.bench import conclusions, paper_seconds
from vgg_sweep.bench.timing import Effort, Measurement, peak_flops, peak_memory, take_turns
from vgg_sweep.config.schema import Recipe
from vgg_sweep.images.sets.imagenet import NUM_TRAIN
from vgg_sweep.nets.vgg import build_net

CPU = torch.device("cpu")
THRICE = Effort(3, 0)


def row(**figures: object) -> Measurement:
    given = {
        "bench": "train", "what": "ours", "config": "A", "image_px": 32, "batch": 32, "micro_batch": 0,
        "precision": "fp32", "layout": "channels-last", "compile": False, "device": "CPU", "seconds": 1.0,
        "images_per_second": 32.0,
    }  # fmt: skip
    return Measurement(**(given | figures))  # type: ignore[arg-type]


def test_works_take_turns_after_a_warm_up() -> None:
    calls = ""

    def work(name: str) -> None:
        nonlocal calls
        calls += name

    times = take_turns({"a": lambda: work("a"), "b": lambda: work("b")}, CPU, THRICE)
    assert calls == "ab" * 4  # one round to warm up and three that count
    assert times.keys() == {"a", "b"} and min(times.values()) > 0


def test_works_go_on_for_the_time_they_are_given() -> None:
    rounds = 0

    def count() -> None:
        nonlocal rounds
        rounds += 1

    take_turns({"": count}, CPU, Effort(3, 0.05))
    assert rounds > 100


def test_peak_memory_is_what_a_work_holds_at_once() -> None:
    def hold(num_arrays: int) -> int | None:
        return peak_memory(lambda: [torch.ones(2**24) for _ in range(num_arrays)], CPU)  # 64 MiB each

    one, three = hold(1), hold(3)
    if one is None or three is None:
        pytest.skip("this system does not tell the most memory that a process has held since a moment")
    assert one >= 0.9 * 2**26
    assert three - one >= 1.8 * 2**26


def test_the_peak_counts_a_multiply_and_an_add_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "seconds_of", lambda product, device: len(product()) ** 3 / 1e9)  # 1e9 pairs a second
    assert peak_flops(CPU, torch.float32, 0.01) == pytest.approx(2e9)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_plain_net_is_the_same_net(tmp_path: Path, name: str) -> None:
    config = tiny_config(tmp_path, name)
    net, plain = build_net(config, 7).eval(), plain_net(config, 7).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for own, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        theirs.data.copy_(own)
    images_NCHW = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net(images_NCHW).flatten(1), plain(images_NCHW))


@pytest.mark.parametrize(("thorough", "batch"), [(False, 16), (True, 32)])
def test_training_is_compared_with_torchvision(tmp_path: Path, thorough: bool, batch: int) -> None:
    own, plain = train_beside(tiny_config(tmp_path), 5, Effort(2, 0, thorough), lambda what: None)
    assert (own.what, plain.what, plain.precision, plain.layout) == ("ours", "torchvision", "fp32", "nchw")
    assert plain.speedup == 1 and own.speedup == pytest.approx(plain.seconds / own.seconds)
    for each in (own, plain):
        assert each.images_per_second == pytest.approx(batch / each.seconds)
        assert each.share_of_peak is not None and each.share_of_peak > 0


def test_a_net_that_torchvision_lacks_is_measured_alone(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "C", layout="nchw", micro_batch=8)
    [row] = train_beside(config, 5, THRICE, lambda what: None)
    assert (row.what, row.layout, row.micro_batch, row.speedup) == ("ours", "nchw", 8, None)


def test_the_settings_tried_are_compared_with_torchvision(tmp_path: Path) -> None:
    rows = bench_settings(tiny_config(tmp_path), 5, THRICE, lambda what: None)
    by_what = {each.what: each for each in rows}
    assert {"ours", "ours, fastest", "torchvision", "first look"} == by_what.keys()
    assert by_what["torchvision"].speedup == 1
    for each in rows:
        assert each.images_per_second == pytest.approx(32 / each.seconds)
        assert each.share_of_peak is not None and each.share_of_peak > 0
    assert {each.layout for each in rows} == {"channels-last", "nchw"}
    fastest_look = min(each.seconds for each in rows if each.what == "first look")
    chosen = by_what["ours, fastest"]
    assert any(
        each.seconds == fastest_look and (each.layout, each.micro_batch) == (chosen.layout, chosen.micro_batch)
        for each in rows
    )


def test_settings_that_are_named_are_not_tried(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "C", layout="nchw", micro_batch=8, precision="fp32")
    rows = bench_settings(config, 5, THRICE, lambda what: None)
    assert [(each.what, each.layout, each.micro_batch) for each in rows] == [
        ("ours", "nchw", 8), ("ours, fastest", "nchw", 8), ("first look", "nchw", 8),
    ]  # fmt: skip


def test_bench_score_covers_dense_and_crops(tmp_path: Path) -> None:
    rows = score_beside(tiny_config(tmp_path), 5, THRICE, lambda what: None)
    assert [(each.what, each.image_px) for each in rows if each.what.startswith("ours")] == [
        ("ours, dense", 37), ("ours, dense", 55), ("ours, dense", 73), ("ours, multi-crop", 32),
    ]  # fmt: skip
    for own, plain in zip(rows[::2], rows[1::2], strict=True):
        assert plain.speedup == 1 and own.speedup == pytest.approx(plain.seconds / own.seconds)


def test_bench_lrn_measures_both_layouts(tmp_path: Path) -> None:
    rows = bench_lrn(tiny_config(tmp_path), THRICE, lambda what: None)
    assert [(each.what, each.layout) for each in rows] == [
        (what, layout) for layout in ("channels-last", "nchw") for what in ("ours", "torch.nn.LocalResponseNorm")
    ]


def test_advice_names_settings_that_are_worth_it_and_no_others() -> None:
    fastest = row(what="ours, fastest", seconds=0.5, layout="nchw", micro_batch=8, compile=True)
    said = advice([row(), fastest])
    assert said == "layout=nchw precision=fp32 micro_batch=8 compile=true makes a step 2.00 times as fast."
    said = advice([row(), replace(fastest, seconds=0.97)])
    assert "as fast as any" in said


def test_advice_on_workers_keeps_the_net_busy(tmp_path: Path) -> None:
    loading = row(bench="data", images_per_second_per_core=10.0)
    assert "workers=4" in conclusions([row(), loading], tiny_config(tmp_path))[-1]  # 32 images/s at 10 a worker


def test_reading_images_has_no_precision_and_does_not_stand_in_the_way(tmp_path: Path) -> None:
    loading = row(bench="data", images_per_second_per_core=10.0, precision="", share_of_peak=None)
    config = tiny_config(tmp_path, "D", crop=224, width=1.0)
    assert paper_seconds([row(config="D", share_of_peak=0.5), loading], config) is None
    rows = [row(share_of_peak=0.5), row(bench="score", what="ours, dense", share_of_peak=0.5)]
    assert paper_seconds([*rows, loading], config) == paper_seconds(rows, config) is not None


def test_bottleneck_is_overhead_where_neither_rate_explains_the_time(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert bottleneck(row(seconds=100.0), config, 5).startswith("Neither")
    assert bottleneck(row(seconds=1e-6), config, 5).startswith(("Arithmetic", "Memory traffic"))


def test_the_papers_time_follows_from_multiply_adds(tmp_path: Path) -> None:
    """Net D at the paper's size at a known rate: its training alone takes 3 x 15.47 GMAC x 74 epochs of images."""
    config = tiny_config(tmp_path, "D", recipe=Recipe(name="paper"), crop=224, width=1.0, precision="fp32")
    share = 0.5
    rate = share * peak_flops(CPU, torch.float32) / 2
    rows = [row(config="D", share_of_peak=share), row(bench="score", what="ours, dense", share_of_peak=share)]
    times = paper_seconds(rows, config)
    assert times is not None
    seconds_of_D = 3 * 15.47e9 * 370_000 * 256 / rate
    # 12 runs of A .. E: their mean net needs between half and all of what D and E need
    assert 6 * seconds_of_D < times[0] < 14 * seconds_of_D
    assert paper_seconds(rows[:1], config) is None
    assert NUM_TRAIN * 74 == pytest.approx(370_000 * 256, rel=0.002)


def test_the_command_prints_rows_with_the_promised_keys(call: Callable[..., Outcome]) -> None:
    words = ["model=A", "data=fractals", "crop=32", "width=0.03125", "threads=1"]
    result = call("bench", "train", *words, "--json", "--seconds", "0")
    assert result.exit_code == 0
    rows = json.loads(result.out)
    promised = {"config", "image_px", "batch", "precision", "layout", "images_per_second", "share_of_peak"}
    assert rows and all(promised <= each.keys() for each in rows)


def test_what_is_measured_is_said_in_plain_lines(call: Callable[..., Outcome]) -> None:
    result = call("bench", "train", "model=A", "data=fractals", "crop=32", "width=0.03125", "threads=1", "--seconds=0")
    assert result.exit_code == 0
    assert "A: 16 images to warm up\nA: steps of 16 images\n" in result.err
    assert "ours" in result.out and "to warm up" not in result.out


def test_an_unknown_bench_is_named(call: Callable[..., Outcome]) -> None:
    result = call("bench", "trane")
    assert result.exit_code == 2
    assert "trane" in result.err and "train, score, data" in result.err
