"""A batch computed in parts against the batch computed at once."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.tiny import RECIPE, tiny_run
from tests.train.test_train import StopAt, materials, prepare, trained
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.progress import Interrupted
from vgg_sweep.train.beginning import set_initial_weights
from vgg_sweep.train.step import Learner
from vgg_sweep.train.train import train

FIGURES = Statistics([0.4, 0.5, 0.6], [0.1, 0.02, 0.01], torch.eye(3).tolist())


def learner(tmp_path: Path, **settings: object) -> Learner:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, batch_size=8), **settings)
    net = build_net(run.config, 3)
    set_initial_weights(net, run)
    made = Learner(net, run.config, FIGURES, choose_hardware(run.config))
    made.set_learning_rate(0.02)
    net.train()
    return made


def batch(num_images: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randint(0, 256, (num_images, 3, 32, 32), generator=generator, dtype=torch.uint8),
        torch.randint(0, 3, (num_images,), generator=generator),
        torch.randn(num_images, 3, generator=generator),
        rows=range(num_images),
        size=num_images,
        num_images=num_images,
        mean_S_px=37,
    )


def weights(of: Learner) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in of.net.parameters()])


def steps(of: Learner, num_steps: int = 5) -> list[tuple[float, float]]:
    return [of.step(batch(), step) for step in range(num_steps)]


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_micro_batches_give_the_weights_of_the_whole_batch_with_dropout(tmp_path: Path, micro_batch: int) -> None:
    whole, parts = learner(tmp_path), learner(tmp_path)
    parts.micro_batch = micro_batch
    assert steps(parts) == [pytest.approx(of_whole, abs=1e-5) for of_whole in steps(whole)]
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-6, rtol=1e-5)


def test_dropout_is_of_the_step_and_of_the_place_in_the_batch(tmp_path: Path) -> None:
    net = learner(tmp_path).net
    net.draw_dropout(8, range(8), seed=1)
    masks = [module._mask_NC11 for module in (net.classifier[2], net.classifier[5])]
    assert all(set(mask.unique().tolist()) == {0, 2} and mask.mean() == pytest.approx(1, abs=0.1) for mask in masks)
    assert not torch.equal(masks[0][0], masks[0][1]) and not torch.equal(*masks)
    net.draw_dropout(8, range(3, 5), seed=1)
    assert torch.equal(net.classifier[2]._mask_NC11, masks[0][3:5])
    net.draw_dropout(8, range(8), seed=2)
    assert not torch.equal(net.classifier[2]._mask_NC11, masks[0])


class Memory:
    """Too little of it: a forward pass of more than `most` images fails, in the words of torch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
        original = Learner._backward

        def backward(of: Learner, batch: Batch, own: slice, step: int) -> torch.Tensor:
            if len(batch.labels_N[own]) > most:
                raise error
            return original(of, batch, own, step)

        monkeypatch.setattr(Learner, "_backward", backward)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_changes_the_micro_batch_and_not_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    Memory(monkeypatch, 2, error)
    run = tiny_run(tmp_path / "parts")
    parts = trained(run, stops=(5,))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-5, rtol=0)
    assert run.folder.record()["micro_batch"] == 2
    log = run.folder.log.read_text()
    assert (
        log.count("out of memory: continuing with 4 images at a time, with the same result") == 1
    )  # kept when continued
    assert log.count("continuing with 2 images") == 1


def test_memory_for_less_than_an_image_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, 0, OUT_OF_MEMORY[0])
    with pytest.raises(RunError, match="there is too little memory for one image; use a smaller"):
        learner(tmp_path).step(batch(), 0)


def test_another_error_is_not_taken_for_want_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        learner(tmp_path).step(batch(), 0)


def loss_falls(run: Run) -> bool:
    made = learner(run.folder.path.parents[1], precision=run.config.precision)
    losses = [loss for loss, _ in steps(made, 30)]
    return losses[-1] < losses[0] / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(tmp_path: Path, precision: str) -> None:
    assert loss_falls(tiny_run(tmp_path, precision=precision))


def test_the_scale_of_fp16_losses_is_kept_in_checkpoints(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole", precision="fp16"))
    run = tiny_run(tmp_path / "pieces", precision="fp16")
    in_pieces = trained(run, stops=(4, 9))
    assert all(torch.equal(whole[name], in_pieces[name]) for name in whole)
    assert run.folder.record()["precision"] == "fp16"


def test_deterministic_is_set_for_the_process_and_recorded(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, deterministic=True)
    try:
        trained(run)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert run.folder.record()["deterministic"] is True


def test_a_compiled_net_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(torch.compile, backend="aot_eager")  # all but the C++ compiler, which took over a minute
    monkeypatch.setattr(torch, "compile", quick)
    plain, compiled = learner(tmp_path), learner(tmp_path, compile=True)
    assert steps(compiled, 3) == [pytest.approx(of_plain, abs=1e-3) for of_plain in steps(plain, 3)]
    torch.testing.assert_close(weights(compiled), weights(plain), atol=1e-5, rtol=1e-4)
    assert list(compiled.net.state_dict()) == list(plain.net.state_dict())


def test_the_micro_batch_of_a_checkpoint_is_no_more_than_the_batch(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run)
    with pytest.raises(Interrupted):
        train(run, *materials(run), StopAt(run, 2))
    train(run, *materials(run), StopAt(run))
    assert run.folder.record()["micro_batch"] == RECIPE.batch_size


@pytest.mark.parametrize(("keep_velocity", "factor"), [(True, 10.0), (False, 1.0)])
def test_a_velocity_outlives_a_drop_of_the_rate_or_falls_with_it(
    tmp_path: Path, keep_velocity: bool, factor: float
) -> None:
    """The velocity is the rate times torch's buffer: kept over a drop to a tenth, the buffer is ten times as large."""
    run = tiny_run(tmp_path, recipe=replace(RECIPE, keep_velocity=keep_velocity))
    net = build_net(run.config, 3)
    set_initial_weights(net, run)
    made = Learner(net, run.config, FIGURES, choose_hardware(run.config))
    made.set_learning_rate(0.02)
    made.step(batch(), 0)
    before = [state["momentum_buffer"].clone() for state in made.optimizer.state.values()]
    made.set_learning_rate(0.002)
    for old, state in zip(before, made.optimizer.state.values(), strict=True):
        torch.testing.assert_close(state["momentum_buffer"], factor * old)
