"""`make bench-demo`: the demo's twelve runs of Table 3, from nothing to tables, by vgg-sweep and written plainly.

Plainly: torchvision's layers and transforms, a DataLoader, fp32, a process a run, one run after another, and every row
of Tables 3 to 5 evaluated by itself, one image at a time, as a paper's evaluation script does it. Same nets, images,
steps, views.
    python -m tests.bench.demo            both, and how many times as long the plain way takes
    python -m tests.bench.demo RUN OUT    one plain run, such as D-jitter
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

RUNS = ["A-256", "A-LRN-256", "B-256", "C-256", "D-256", "E-256", "C-384", "D-384", "E-384", "C-jitter", "D-jitter",
        "E-jitter"]  # fmt: skip
WORDS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 L M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 1:256 M 512 512 1:512 M 512 512 1:512 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
CROP, WIDTH, CLASSES, BATCH = 64, 1 / 16, 20, 32
EPOCHS, FINE_TUNE_EPOCHS, LR, FINE_TUNE_LR = 8, 4, 0.008, 0.006
S_PX = {"256": (73, 73), "384": (110, 110), "jitter": (73, 146)}
PARENT = {"384": "256", "jitter": "384"}
Q_SINGLE = {"256": 73, "384": 110, "jitter": 110}
Q_MULTI = {"256": (64, 73, 82), "384": (101, 110, 119), "jitter": (73, 110, 146)}


def net(name: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for word in WORDS[name].split():
        if word == "M":
            layers.append(nn.MaxPool2d(2))
        elif word == "L":
            layers.append(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0))
        else:
            kernel, _, out = word.rpartition(":")
            side, width = int(kernel or 3), round(int(out) * WIDTH)
            layers += [nn.Conv2d(channels, width, side, padding=side // 2), nn.ReLU(inplace=True)]
            channels = width
    hidden = round(4096 * WIDTH)
    for kernel_px, width in ((CROP // 32, hidden), (1, hidden), (1, CLASSES)):
        layers += [nn.Conv2d(channels, width, kernel_px), nn.ReLU(inplace=True)]
        channels = width
    model = nn.Sequential(*layers[:-1])
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Fractals as the demo draws them, through torchvision's transforms."""

    def __init__(self, folder: Path, split: str, S_px: tuple[int, int]) -> None:
        self.images_NHWC = np.load(folder / f"{split}-images.npy", mmap_mode="r")
        self.labels_N = np.load(folder / f"{split}-labels.npy")
        self.S_px = S_px
        self.view = v2.Compose([v2.RandomCrop(CROP), v2.RandomHorizontalFlip()])
        self.to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images_NHWC[index])
        S = int(torch.randint(self.S_px[0], self.S_px[1] + 1, ()))
        view_CHW = self.to_tensor(self.view(v2.functional.resize(image, S)))
        shift_C = torch.randn(3) * 0.1 * 0.05
        return view_CHW - 0.4 + shift_C[:, None, None], int(self.labels_N[index])


def train(run: str, out: Path, folder: Path) -> nn.Sequential:
    name, _, scale = run.rpartition("-")
    model = net(name)
    parent = f"{name}-{PARENT[scale]}" if scale in PARENT else ("A-256" if name != "A" else None)
    fine_tunes = scale in PARENT
    if parent is not None:
        state = torch.load(out / f"{parent}.pt")
        own = model.state_dict()
        if fine_tunes:
            model.load_state_dict(state)
        else:  # the FC layers; which conv layers are taken over does not matter for the time
            for ours, theirs in zip(list(own)[-6:], list(state)[-6:], strict=True):
                own[ours].copy_(state[theirs])
    loader = DataLoader(Images(folder, "train", S_PX[scale]), BATCH, shuffle=True, num_workers=2)
    epochs = FINE_TUNE_EPOCHS if fine_tunes else EPOCHS
    optimizer = torch.optim.SGD(model.parameters(), FINE_TUNE_LR if fine_tunes else LR, 0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [round(0.7 * epochs), round(0.9 * epochs)])
    for _ in range(epochs):
        for images_NCHW, labels_N in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images_NCHW).flatten(1), labels_N).backward()
            optimizer.step()
        schedule.step()
    torch.save(model.state_dict(), out / f"{run}.pt")
    return model


@torch.no_grad()
def evaluate(model: nn.Sequential, name: str, scale: str, folder: Path) -> dict[str, float]:
    """Errors for the run's rows of Tables 3, 4 and 5, each from the images."""
    model.eval()
    images = Images(folder, "val", (0, 0))
    rows = {"3 dense": ("dense", (Q_SINGLE[scale],))}
    if name not in ("A", "A-LRN"):
        rows |= {"4 dense": ("dense", Q_MULTI[scale])}
    if scale == "jitter" and name in ("D", "E"):
        rows |= {f"5 {how}": (how, Q_MULTI[scale]) for how in ("dense", "crops", "both")}
    errors = {}
    for row, (how, scales_px) in rows.items():
        wrong = 0
        for index in range(len(images)):
            image = Image.fromarray(images.images_NHWC[index])
            views_K = [view_K for Q in scales_px for view_K in _views(model, images, image, Q, how)]
            wrong += int(torch.stack(views_K).mean(0).argmax()) != images.labels_N[index]
        errors[row] = 100 * wrong / len(images)
    return errors


def _views(model: nn.Sequential, images: Images, image: Image.Image, Q: int, how: str) -> list[torch.Tensor]:
    image_CHW = images.to_tensor(v2.functional.resize(image, Q)) - 0.4
    found = []
    for flipped_CHW in (image_CHW, image_CHW.flip(2)):
        if how in ("dense", "both"):
            found.append(model(flipped_CHW[None]).mean((2, 3)).softmax(1)[0])
        if how in ("crops", "both"):
            offsets = [round(step * (Q - CROP) / 4) for step in range(5)]
            crops = torch.stack([flipped_CHW[:, y : y + CROP, x : x + CROP] for y in offsets for x in offsets])
            found.append(model(crops).flatten(1).softmax(1).mean(0))
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        began = time.perf_counter()
        words = ["data=fractals", "sweep=table3,table4,table5"]
        ours = [sys.executable, "-m", "vgg_sweep"]
        folders = [f"out={out / 'sweep'}", f"cache={out / 'cache'}"]
        subprocess.run([*ours, "multirun", *words, *folders], check=True)
        subprocess.run([*ours, "report", str(out / "sweep"), "--out", str(out / "report")], check=True)
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        (folder,) = (out / "cache").glob("fractals-*")
        for run in RUNS:
            subprocess.run([sys.executable, "-m", "tests.bench.demo", run, str(out), str(folder)], check=True)
        plain_seconds = time.perf_counter() - began
    print(
        f"vgg-sweep {seconds:.0f} s, written plainly {plain_seconds:.0f} s: {plain_seconds / seconds:.2f} times as fast"
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        run, out, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
        name, _, scale = run.rpartition("-")
        print(run, evaluate(train(run, out, folder), name, scale, folder), flush=True)
