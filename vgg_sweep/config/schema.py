"""The configuration: the only place with defaults and checks.

`conf/*.yaml` and command-line overrides are merged by Hydra into the dataclasses below; `checked` turns the result into
a `Config` or raises `ConfigError` with one sentence. Defaults are the paper's values; section numbers refer to arXiv
1409.1556v6. Each field says what it decides (`roles.Role`) and which values it may have.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from vgg_sweep.config.beyond import BeyondPaper
from vgg_sweep.config.imported import Imported, Preprocessing
from vgg_sweep.config.localise import Localise
from vgg_sweep.config.roles import arithmetic, net, request, rounding, setting, where, work
from vgg_sweep.config.transfer import Transfer
from vgg_sweep.protocols.methods import PAPER_CROP_PX


@dataclass
class Model:
    """One column of Table 1."""

    name: str = net(MISSING)
    columns: list[str] = net(MISSING)
    """The column's words from top to bottom without the FC layers, which all nets share: conv3-64, LRN, maxpool,
    conv1-256 ...
    """
    parent: str | None = net(None)
    """Net whose S=256 weights the S=256 run starts from (Sect. 3.1: A for the deeper nets)."""


@dataclass
class TrainScale:
    """S, the smallest side of the isotropically rescaled training image (Sect. 3.1)."""

    name: str = net(MISSING)
    S: list[int] = net(MISSING)
    """[smallest, largest] S in pixels at crop 224; equal for a fixed scale.

    Drawn uniformly per image (distribution not stated).
    """
    parent: str | None = net(None)
    """Train scale of the same net from whose weights this one starts."""
    trainable: str = net("all", choices=("all", "fc"))
    """`all` layers, or `fc`: only the three FC layers, as in one member of the ILSVRC submission (Sect. 4.4)."""


@dataclass
class Recipe(BeyondPaper):
    """How to train (Sect. 3.1)."""

    name: str = request(MISSING)
    batch_size: int = setting(256, above=0)
    last_batch: str = setting("short", choices=("short", "wrap"))
    """The last batch of an epoch whose images the batch size does not divide: `short`, a step at the full rate on what
    is left; `wrap`, filled up with the epoch's first images, as Caffe's data layer wraps round. Not stated.
    """
    epochs: float = setting(74.0, above=0)
    """Budget of a run at S=256, in passes over the training set."""
    fine_tune_epochs: float = setting(74.0, above=0)
    """Budget of a run that starts from another scale of the same net. Not stated in the paper."""
    max_steps: int = setting(370_000, above=0)
    lr: float = setting(0.01, above=0)
    fine_tune_lr: float = setting(0.001, above=0)
    """Initial rate of a run that starts from another scale (stated for S=384; for jitter not stated), and of the layers
    that start_from copies, whose new ones have `lr`.
    """
    momentum: float = setting(0.9, at_least=0, below=1)
    weight_decay: float = setting(5e-4, at_least=0)
    dropout: float = setting(0.5, at_least=0, below=1)
    """On the first two FC layers."""
    init: str = setting("normal", choices=("normal", "literal", "glorot", "he"))
    """`normal` N(0, 0.01); `literal` variance 10^-2 as printed; `glorot` uniform (the paper's note); `he`.

    Biases are 0.
    """
    schedule: str = setting("plateau", choices=("plateau", "fractions", "cosine"))
    """`plateau`: lr / 10 when validation accuracy stops improving; `fractions`: at shares of the budget; `cosine`."""
    patience_epochs: int = setting(5, above=0)
    """Epochs without improvement that count as a plateau, at least one. Not stated in the paper."""
    threshold: float = setting(0.1, at_least=0)
    """Smallest fall of the validation error, in points, that counts as an improvement. Not stated in the paper."""
    num_drops: int = setting(3, at_least=0)
    keep_velocity: bool = setting(True)
    """Whether the velocity outlives a drop of the rate, as in Krizhevsky et al. and Caffe, or falls with it.

    Kept, it overshoots for some ten steps after a drop, from which a short budget does not recover.
    """
    drop_fractions: list[float] = setting([0.5, 0.75, 0.9])
    validate_epochs: float = setting(1.0, above=0)
    """Epochs between two validations (centre crop at the single test scale; the paper does not say how it validated).
    """
    color_shift_std: float = setting(0.1, at_least=0)
    """Std of the RGB shift's alphas (Krizhevsky et al. 2012, Sect. 4.1)."""
    pixel_max: float = setting(255.0, above=0)
    """Pixels run from 0 to this before the mean is subtracted. 255 in the paper's nets."""


SOURCES = ("fractals", "folder", "imagenet", "cifar10", "cifar100", "stl10", "tiny-imagenet", "caltech101",
           "caltech256", "flowers102", "food101", "imagenette", "imagenette-320", "imagenette-160", "voc2007",
           "voc2012", "voc2012-action")  # fmt: skip


@dataclass
class Fractals:
    """The embedded, formula-driven set."""

    num_classes: int = setting(20, above=0)
    train_per_class: int = setting(150, above=0)
    val_per_class: int = setting(25, above=0)
    side_px: int = setting(160, above=0)
    seed: int = setting(0)


@dataclass
class Data:
    name: str = setting(MISSING)
    source: str = setting(MISSING, choices=SOURCES)
    """`fractals`; `folder` (train/ and val/ with a folder a class); `imagenet`, in every layout; or a published set."""
    root: str | None = where(None)
    """The folder that holds the set, or the archive's folder in it."""
    download: bool = work(False)
    """Download a published set into `root` if it is not there."""
    val_share: float | None = setting(None, above=0, below=1)
    """Share of the training images of each class that is held out as val; null takes the set's own val."""
    split_seed: int = setting(0)
    """Draws what is held out."""
    labels: str | None = where(None)
    """File that labels ILSVRC's validation images; null looks for the development kit or a list beside them."""
    labels_order: str = where("auto", choices=("auto", "sorted", "devkit"))
    """What the numbers in it are: `sorted`, positions in the sorted wnids from 0; `devkit`, ILSVRC2012_IDs from 1; or
    `auto`: devkit if a line is a number alone, else sorted.
    """
    boxes: str | None = where(None)
    """Folder or tar of XML files, or CSV, with the images' boxes; null looks for them in `root`."""
    exif_rotation: bool = setting(False)
    """Rotate images upright as their EXIF data say. ImageNet practice ignores it."""
    on_bad_image: str = setting("error", choices=("error", "skip", "substitute"))
    """If an image cannot be decoded: `error`; `skip`, train and score without it; `substitute`, train on
    the next image of the split in its place and score without it.
    """
    decode: str = setting("exact", choices=("exact",), dropped=("scaled",))
    """For runs made before `scaled` was dropped; nothing trains with it."""
    cache: str = work("auto", choices=("auto", "memory", "device", "none"), dropped=("packed",))
    """`auto`: decoded images stay in memory if all of the split take a small share of it; `memory`: they stay; `none`.
    `device`, on a GPU under `auto` too: training images of one size stay where the net is, and their views, the same,
    are made there. `packed` was dropped and stands in the settings of runs made before.
    """
    fractals: Fractals = field(default_factory=Fractals)


@dataclass
class Protocol:
    """Which posteriors to compute (Sect. 3.2)."""

    name: str = request(MISSING)
    passes: list[str] = request(MISSING)
    """`method@Q`: dense, multi-crop, centre-crop or ten-crop, at `single` or `multi` (the paper's rules of Q) or a Q in
    pixels.
    """


@dataclass
class Sweep:
    """Cells of a sweep: a union of small grids, crossed with what the command line adds."""

    name: str = request("")
    grids: list[dict[str, Any]] = request([])
    """Each maps a group (model, train_scale, protocol) to one option or a list of options."""


@dataclass
class Config:
    """Everything a run is made from; see `conf/config.yaml` for the groups."""

    model: Model = field(default_factory=Model)
    train_scale: TrainScale = field(default_factory=TrainScale)
    recipe: Recipe = field(default_factory=Recipe)
    data: Data = field(default_factory=Data)
    protocol: Protocol = field(default_factory=Protocol)
    imported: Imported = field(default_factory=Imported)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    crop: int = setting(PAPER_CROP_PX, above=0)
    """Side of the net's input in pixels, a multiple of 32. S and Q scale with it."""
    width: float = setting(1.0, above=0)
    """Factor on the channels of every hidden layer."""
    classes: int | None = setting(None, above=0)
    """Number of classes; null means those of the data."""
    pool_ceil: bool = setting(False)
    """Round pooled sizes up, as Caffe did, in which the paper's nets were made. Not stated in the paper.

    The same at the crop; on odd sides of a dense test image it adds windows that are partly empty, which small crops
    feel most.
    """
    seed: int = net(0)
    task: str = net("classify", choices=("classify", "localise"))
    """`localise`: the last FC layer, drawn anew, learns boxes (Appendix A), from the net that classifies."""
    boxes: str = net("pcr", choices=("scr", "pcr"))
    """Of task=localise: one box for all classes (`scr`, 4 outputs), or one a class (`pcr`, 4 for each)."""
    localise: Localise = field(default_factory=Localise)
    start_from: str | None = setting(None)
    """The run whose layers this one begins with, as far as they fit, in place of the paper's parents: a folder, id or
    slug. Column, width, crop, rounding and preprocessing are then those of that run.
    """
    trainable: str = setting("all", choices=("all", "fc", "last"))
    """`all` layers, the FC layers (`fc`) or the `last` of these; new layers in any case. The others stay as copied."""
    warm_start: str = setting("paper", choices=("paper", "none"))
    """`paper`: parents as in Sect. 3.1; `none`: every run from random weights."""
    out: str = request("outputs/${data.name}")
    """Folder of the sweep: run folders go in here."""
    cache: str = work("outputs/cache")
    """Folder for what is computed once from the data."""
    device: str = work("auto")
    devices: int = rounding(1, above=0)
    """Processes that train and score a run together, a GPU each; the batch is split among them (Sect. 3.3)."""
    precision: str = arithmetic("auto", choices=("auto", "fp32", "bf16", "fp16"))
    """`fp32`, `bf16`, `fp16` (with loss scaling), or `auto`: to train, what a measurement finds fastest here, bf16 only
    if it is clearly faster than fp32; to score, fp32. What is named decides a run's id, what `auto` chose does not.
    """
    tf32: bool = arithmetic(False)
    """Let GPUs round the factors of all fp32 products to 10 bits, which is faster. Left false, `precision=fp32` rounds
    none, and `auto` those of convolutions, as torch does by default, or all if that is clearly faster in training.
    """
    layout: str = work("auto", choices=("auto", "channels-last", "nchw"))
    """Order of an activation's axes in memory: `channels-last`, `nchw`, or `auto`, the faster one as measured."""
    micro_batch: int = work(0, at_least=0)
    """Images that go through the net at once in training, with the same result; 0 chooses: all of a batch on a GPU, as
    many as a measurement finds fast on a CPU.
    """
    compile: bool = rounding(False)
    """Compile the net for training, which takes a minute and then is faster."""
    deterministic: bool = arithmetic(False)
    """The same bits every time on GPUs too, at the cost of slower convolutions. A CPU always gives them."""
    threads: int = work(0, at_least=0)
    """CPU threads of a run; 0 leaves torch's choice."""
    workers: int = work(2, at_least=0)
    """Threads that prepare training images; 0 prepares them between the steps."""
    data_timeout_seconds: float = work(300.0, above=0)
    """How long a step waits for an image before the run fails."""
    log_every_steps: int = work(10, above=0)
    logger: str = work("none", choices=("none", "tensorboard", "wandb", "mlflow", "trackio"))
    """Where the learning curves go beside metrics.csv: `tensorboard`, `wandb`, `mlflow` or `trackio`."""
    checkpoint_every_minutes: float = work(10.0, above=0)
    """A checkpoint is also written after each epoch, unless that would cost over 2 % of the time."""
    checkpoint_every_steps: int = work(0, at_least=0)
    """Steps between two checkpoints; 0 means by minutes and epochs only."""
    run: str | None = request(None)
    """Folder of a prepared run to work on instead of composing one; set by the sweeper for Hydra's launchers."""
    jobs: str = request("auto")
    """Runs at a time on this machine: `auto` or a number."""
    retries: int = request(0, at_least=0)
    """How often a failed run of a sweep is tried again."""
    fail_fast: bool = request(False)
    """Stop the sweep at the first failed run."""
    smoke: bool = setting(False)
    """A trial on a sample of the images, as by `multirun --smoke`."""
    take_over: bool = request(False)
    """Take over finished runs of the same id from sibling sweeps; if false, only those that others start from."""
    snapshot: bool = request(False)
    """Use the code as it was when the sweep started, even if it changes while runs wait in a queue."""
    on_end: str | None = request(None)
    """A shell command that is given a summary as JSON on its standard input when all has ended."""
    sweep: Sweep = field(default_factory=Sweep)
    transfer: Transfer = field(default_factory=Transfer)
