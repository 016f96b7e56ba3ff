"""Imported nets before they are scored, and the published nets' tables in one command, on a small ILSVRC val."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests import ilsvrc
from tests.conftest import Outcome
from tests.exchange.test_importing import oxfords
from tests.foreign import CROP, torchvision_net
from vgg_sweep.config.imported import Imported
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.wnids import sorted_order
from vgg_sweep.runs.folder import find_runs

Call = Callable[..., Outcome]
FIRST = 100
"""Place of the first class of the images in the sorted wnids."""
SHORTER_PX = 110
"""Of the images: the single test scale of a jittered net at this crop, so that nothing is rescaled there."""

CAFFE = "preprocessing=caffe"


def val(root: Path, num_images: int) -> list[tuple[Path, int]]:
    """Validation images alone, in class folders, one a class; each with its class's place in the sorted wnids.

    Each second class is the one before it with red and blue exchanged.
    """
    images = []
    for number, wnid in enumerate(sorted_order()[FIRST : FIRST + num_images]):
        coarse_HWC = np.random.default_rng(number // 2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
        coarse_HWC = coarse_HWC[:, :, ::-1] if number % 2 else coarse_HWC
        path = root / "val" / wnid / f"ILSVRC2012_val_{number + 30:08d}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(coarse_HWC).resize((128, SHORTER_PX), Image.Resampling.BICUBIC).save(path)
        images.append((path, FIRST + number))
    return images


def centre(path: Path) -> Tensor:
    """The centre crop in B, G, R from 0 to 255 less the paper's mean."""
    pixels_HWC = torch.from_numpy(np.array(Image.open(path))).float()
    y, x = (SHORTER_PX - CROP) // 2, (128 - CROP) // 2
    crop_HWC = pixels_HWC[y : y + CROP, x : x + CROP].flip(2) - torch.tensor([103.939, 116.779, 123.68])
    return crop_HWC.permute(2, 0, 1)


def taught(net: nn.Module, images: list[tuple[Path, int]]) -> nn.Module:
    """`net` with a last layer that knows these images: the least-squares answer."""
    with torch.no_grad():
        fc7_NC = net.classifier[:6](net.features(torch.stack([centre(path) for path, _ in images])).flatten(1))
        targets_NK = torch.nn.functional.one_hot(torch.tensor([label for _, label in images]), 1000).float()
        net.classifier[6].weight.copy_(torch.linalg.pinv(fc7_NC).mm(20 * targets_NK).T)
        net.classifier[6].bias.zero_()
    return net


def test_the_published_nets_are_measured_by_one_command(call: Call, tmp_path: Path) -> None:
    images = val(tmp_path / "ilsvrc", 4)
    for model in ("D", "E"):
        torch.save(oxfords(taught(torchvision_net(model), images), model), f"{model}.pth")
    outcome = call(
        "import", "D.pth", "E.pth", "experiment=published", CAFFE, "data.root=ilsvrc", "device=cpu", "threads=1"
    )
    assert outcome.exit_code == 0, outcome.err
    D, E = find_runs(Path("outputs/published"))
    for folder in (D, E):
        assert folder.record()["sanity"] == {"images": 4, "known": 4} and folder.status()["state"] == "done"
        manifest = json.loads((folder.posteriors / "manifest.json").read_text())
        assert manifest["classes"] == sorted_order()
        assert manifest["labels"] == [label for _, label in images]
        methods = {(each["method"], each["Q"]) for each in manifest["files"]}
        assert methods == {(method, Q) for method in ("dense", "multi-crop") for Q in (73, 110, 146)}
    for table in ("Table 3", "Table 4", "Table 5", "Table 6", "Table 7"):
        assert table in outcome.out
    again = call("score", f"run={E.path}", "protocol=centre", "data.root=ilsvrc", "device=cpu")
    assert again.exit_code == 0, again.err
    centre_NK = np.load(E.posteriors / "centre-crop-Q110-flip0.npy")
    assert (centre_NK.argmax(axis=1) == [label for _, label in images]).all()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (("imported.class_order=devkit", CAFFE), "imported.class_order=ilsvrc"),
        (
            ("preprocessing=caffe", "preprocessing.channel_order=RGB", "preprocessing.mean=[123.68,116.779,103.939]"),
            "preprocessing=caffe",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_with_what_does(
    wrong: tuple[str, ...], right: str, call: Call, tmp_path: Path
) -> None:
    images = val(tmp_path / "ilsvrc", 40)
    torch.save(oxfords(taught(torchvision_net("D"), images), "D"), "D.pth")
    outcome = call("import", "D.pth", *wrong, "train_scale=jitter", "data.root=ilsvrc", "device=cpu", "threads=1")
    assert outcome.exit_code == 1
    assert f"of 40 images, but 40 with {right}: nothing was scored; import the file again" in outcome.err
    (folder,) = find_runs(Path("outputs/imagenet"))
    assert not (folder.posteriors / "manifest.json").exists() and "Table" not in outcome.out


def test_weights_that_know_nothing_are_refused(call: Call, tmp_path: Path) -> None:
    val(tmp_path / "ilsvrc", 40)
    torch.save(oxfords(torchvision_net("D"), "D"), "D.pth")
    outcome = call("import", "D.pth", CAFFE, "data.root=ilsvrc", "device=cpu", "threads=1")
    assert outcome.exit_code == 1 and "do the weights, the list of classes" in outcome.err


def test_images_of_classes_unknown_to_the_net_are_refused(call: Call, tmp_path: Path) -> None:
    val(tmp_path / "ilsvrc", 40)
    Path("names.txt").write_text("\n".join(f"class {number}" for number in range(1000)))
    torch.save(oxfords(torchvision_net("D"), "D"), "D.pth")
    outcome = call("import", "D.pth", CAFFE, "imported.class_order=names.txt", "data.root=ilsvrc", "device=cpu")
    assert (
        outcome.exit_code == 1 and f"40 of the 40 classes of the images, such as {sorted_order()[FIRST]}" in outcome.err
    )


NAMED = [pair for pair in ilsvrc.VALS if pair[1] is not ilsvrc.list_of_places]


def test_places_in_a_list_that_is_not_there_are_refused(tmp_path: Path) -> None:
    ilsvrc.val_flat(tmp_path, ilsvrc.made())
    ilsvrc.list_of_places(tmp_path, ilsvrc.made())
    data = Data(name="imagenet", source="imagenet", root=str(tmp_path))
    with pytest.raises(ConfigError, match="write wnids instead"):
        open_images(Config(data=data, imported=Imported(sha256="of a file"), cache=str(tmp_path / "cache")))


@pytest.mark.parametrize(("make_val", "make_labels"), NAMED)
def test_every_layout_of_val_does_without_train(
    make_val: Callable[..., None], make_labels: Callable[..., None], tmp_path: Path
) -> None:
    of, root = ilsvrc.made(), tmp_path / "ilsvrc"
    root.mkdir()
    make_val(root, of)
    make_labels(root, of)
    data = Data(name="imagenet", source="imagenet", root=str(root))
    config = Config(data=data, imported=Imported(sha256="of a file"), cache=str(tmp_path / "cache"))
    for _ in range(2):  # from the files, then from the index
        images = open_images(config)
        assert images.classes == sorted({wnid for wnid, _ in of.val.values()}) and len(images.train) == 0
        labels = {id: images.classes[label] for id, label in zip(images.val.ids, images.val.labels_N, strict=True)}
        assert labels == {f"val/{wnid}/{ilsvrc.name(number)}": wnid for number, (wnid, _) in of.val.items()}
    with pytest.raises(ConfigError, match="has no train/"):
        open_images(replace(config, imported=Imported()))
