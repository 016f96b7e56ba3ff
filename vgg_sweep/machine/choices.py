"""What `auto` means on this machine: the fastest way to compute a net, measured once and kept for later runs.

Needs no torch: a plan says what will be chosen.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vgg_sweep.config.schema import Config
from vgg_sweep.protocols.seals import unsealed
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.naming import listed

FASTEST = "VGG_SWEEP_FASTEST"
"""Environment variable: fp32 or bf16 is taken as the fastest precision without measuring, as tests need it."""
CLEARLY_FASTER = 1.3
"""A reduced precision changes results a little, so it has to be worth it, and noise must not decide."""
FASTER_LAYOUT = 1.1
"""The layouts give the same results up to rounding."""


@dataclass(frozen=True)
class ComputeMode:
    """A way to compute a net."""

    precision: str
    """`fp32`, `bf16` or `fp16`: the type in which convolutions and matrix products are computed."""
    tf32: str
    """Which fp32 products a GPU rounds to TF32: `none`, `convolutions` (torch's default) or `all`."""
    layout: str
    """`channels-last` or `nchw`."""

    @property
    def arithmetic(self) -> tuple[str, str]:
        """Precision and TF32: what a result depends on."""
        return self.precision, self.tf32

    @property
    def name(self) -> str:
        rounded = "" if self.tf32 == "none" else f" (TF32: {self.tf32})"
        return f"{self.precision}{rounded} {self.layout}"


@dataclass(frozen=True)
class Choice:
    """The way chosen, the most images that go through the net at once in training (0: all), and the seconds an image
    that this was chosen from, by name of the way or `N at once`; none if nothing was measured.
    """

    way: ComputeMode
    micro_batch: int = 0
    chosen_from: Mapping[str, float] = field(default_factory=dict)

    def in_words(self) -> str:
        """bf16 channels-last, 3.1 times as fast as fp32."""
        way, plain = self.way, [seconds for name, seconds in self.chosen_from.items() if name.startswith("fp32")]
        if way.precision == "fp32" or not plain:
            return way.name
        return f"{way.name}, {min(plain) / self.chosen_from[way.name]:.1f} times as fast as fp32"


def fastest_way(seconds: Mapping[ComputeMode, float]) -> ComputeMode:
    """The way to take, of those measured: the plainest arithmetic, which comes first, unless another is
    `CLEARLY_FASTER`; channels-last unless nchw is `FASTER_LAYOUT`.
    """
    best = {arithmetic: _best_layout(seconds, arithmetic) for arithmetic in {way.arithmetic: None for way in seconds}}
    plain, *others = best.values()
    fastest = min(others, key=lambda way: seconds[way], default=plain)
    return fastest if seconds[plain] >= CLEARLY_FASTER * seconds[fastest] else plain


def _best_layout(seconds: Mapping[ComputeMode, float], arithmetic: tuple[str, str]) -> ComputeMode:
    ways = {way.layout: way for way in seconds if way.arithmetic == arithmetic}
    if len(ways) == 1:
        return next(iter(ways.values()))
    nchw, channels_last = ways["nchw"], ways["channels-last"]
    return nchw if seconds[channels_last] >= FASTER_LAYOUT * seconds[nchw] else channels_last


def forced_precision() -> str | None:
    """What `VGG_SWEEP_FASTEST` names, if it is set."""
    return os.environ.get(FASTEST) or None


def choice_key(
    config: Config,
    num_classes: int,
    device: str,
    threads: int,
    *,
    training: bool,
    arithmetic: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """All that a choice holds for: the machine, the net, which settings were left open, and the arithmetic if that was
    settled.
    """
    names = ("precision", "tf32", "layout", "micro_batch") if training else ("precision", "tf32", "layout")
    return {
        "device": device,
        "torch": version("torch"),
        "threads": threads,
        **_net(config),
        "classes": num_classes,
        "training": training,
        "batch_size": config.recipe.batch_size if training else 0,
        "asked": {name: getattr(config, name) for name in names},
        "arithmetic": arithmetic and list(arithmetic),
    }


def _net(config: Config) -> dict[str, Any]:
    return {"columns": list(config.model.columns), "width": config.width, "crop": config.crop}


def choice_file(cache_folder: Path, of: Mapping[str, Any]) -> Path:
    """Where the choice for `of`, which `choice_key` made, is kept."""
    digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder / "choices" / f"{digest}.json"


def cached_choice(path: Path, of: Mapping[str, Any], note: Callable[[str], None]) -> Choice | None:
    """The choice kept in `path`; None if there is none, or, with a note, if it is damaged or not for `of`."""
    try:
        of_kept, choice = _read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        note(f"{path} is damaged ({type(error).__name__}); the fastest way is measured again.")
        return None
    if of_kept != dict(of):
        note(f"{path} was measured elsewhere, on {of_kept['device']}; the fastest way is measured again.")
        return None
    return choice


def cache_choice(path: Path, of: Mapping[str, Any], choice: Choice) -> None:
    """Keep `choice` for later runs; where the cache cannot be written, each measures for itself."""
    with suppress(OSError):
        write_json(path, {"of": of, **asdict(choice)})


def _read(path: Path) -> tuple[dict[str, Any], Choice]:
    """What the choice kept in `path` holds for, which names a device at least, and the choice."""
    kept = unsealed(path.read_bytes())
    chosen_from = {str(name): float(seconds) for name, seconds in kept["chosen_from"].items()}
    choice = Choice(ComputeMode(**kept["way"]), int(kept["micro_batch"]), chosen_from)
    if choice.way.precision not in ("fp32", "bf16", "fp16") or choice.way.layout not in ("channels-last", "nchw"):
        raise ValueError(f"{choice.way} is not a way to compute a net")
    return {"device": kept["of"]["device"], **kept["of"]}, choice


def choice_notes(configs: Iterable[Config], beside: Collection[object] = ()) -> list[str]:
    """Sentences for a plan: what the settings left open will be in training, or that it will be measured; and where
    that is another precision than those of the runs `beside`.
    """
    forced = forced_precision()
    said: dict[str, list[str]] = {}
    for config in configs:
        if (names := _left_open(config)) and config.imported.sha256 is None:
            known = [] if forced else [_compared(choice, of, beside) for of, choice in _choices_of(config)]
            decided = f"{FASTEST}={forced} decides {names}" if forced else f"{names} measured when training begins"
            for words in known or [decided]:
                said.setdefault(words, []).append(config.model.name)
    return [f"{', '.join(dict.fromkeys(models))}: {words}." for words, models in said.items()]


def _compared(choice: Choice, of: Mapping[str, Any], beside: Collection[object]) -> str:
    words = f"trained in {choice.in_words()}, as measured on {of['device']}"
    others = sorted({str(precision) for precision in beside} - {choice.way.precision, "None"})
    return f"{words}; other runs of the sweep were trained in {' and '.join(others)}" if others else words


def _left_open(config: Config) -> str:
    """precision and layout."""
    left_open = {"precision": "auto", "layout": "auto", "micro_batch": 0}
    return listed([name for name, value in left_open.items() if getattr(config, name) == value], "and")


def _choices_of(config: Config) -> list[tuple[dict[str, Any], Choice]]:
    """What was measured for the net of `config` with this torch, and what it holds for."""
    asked = {name: getattr(config, name) for name in ("precision", "tf32", "layout", "micro_batch")}
    like = {**_net(config), "training": True, "torch": version("torch"), "asked": asked, "arithmetic": None}
    return [
        (of, choice)
        for of, choice in _all_kept(Path(config.cache))
        if {name: of.get(name) for name in like} == like and of["threads"] == (config.threads or of["threads"])
    ]


@cache
def _all_kept(cache_folder: Path) -> list[tuple[dict[str, Any], Choice]]:
    found = []
    for path in sorted(cache_folder.glob("choices/*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.append(_read(path))
    return found


@cache
def cpu_name() -> str:
    """The processor and a hash of its features, which may differ between two of one name, and so may what is fast."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        features = facts.get("flags") or facts.get("Features") or ""
        name = facts.get("model name") or platform.machine()
        return f"{name}, features {hashlib.sha256(features.encode()).hexdigest()[:6]}"
    return platform.processor() or platform.machine()
