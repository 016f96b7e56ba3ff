"""One way to name a run: exact before a beginning, in any sweep, the nearest where there is none."""

from pathlib import Path

import pytest

from vgg_sweep.errors import ConfigError
from vgg_sweep.runs.naming import find_run, fitting, names

IDS = ["D-256-s0-11111111", "D-jitter-s0-22222222", "D-jitter-fc-s0-33333333", "A-256-s0-44444444"]
"""Of which `D-jitter` is the beginning of two and the name of one."""


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for id in IDS:
        make("outputs/photos", id)
    return tmp_path / "outputs"


def make(sweep: str, id: str) -> Path:
    folder = Path(sweep) / id
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    return folder


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("D-jitter-s0-22222222", [1]),
        ("D-jitter", [1]),
        ("D-jitter-s0", [1]),
        ("D-jitter-f", [2]),
        ("D-j", [1, 2]),
        ("A", [3]),
        ("", []),
        ("E", []),
        ("jitter", []),
    ],
)
def test_what_a_word_stands_for(word: str, meant: list[int]) -> None:
    assert fitting(word, IDS) == [IDS[index] for index in meant]


def test_imported_nets_have_a_name_too() -> None:
    assert fitting("D-256", ["D-256-5ef82cd4-11111111", "D-256x-s0-11111111"]) == ["D-256-5ef82cd4-11111111"]


def test_a_seed_may_be_negative() -> None:
    assert fitting("D-jitter", ["D-jitter-s-1-55555555", "D-jitter-fc-s0-33333333"]) == ["D-jitter-s-1-55555555"]
    assert fitting("D-jitter-s-1", ["D-jitter-s-1-55555555", "D-jitter-s0-22222222"]) == ["D-jitter-s-1-55555555"]


def test_a_folder_or_a_file_in_it_is_the_run_itself() -> None:
    (folder := make("elsewhere", "best")).joinpath("weights.safetensors").touch()
    assert find_run("elsewhere/best").path == folder
    assert find_run("elsewhere/best/weights.safetensors").path == folder


def test_a_run_is_found_in_any_sweep_below_outputs() -> None:
    deep = make("outputs/flowers/second", "E-256-s0-55555555")
    assert find_run("E").path == deep
    assert find_run("flowers/second/E-256").path == deep
    assert find_run("outputs/flowers/second/E-256").path == deep
    with pytest.raises(ConfigError, match=r"^photos/E-256 is neither .*: did you mean outputs/photos/"):
        find_run("photos/E-256")
    with pytest.raises(ConfigError, match=r"did you mean outputs/flowers/second/E-256-s0-55555555"):
        find_run("nowhere/E-257")


def test_exact_in_one_sweep_comes_before_a_beginning_in_another() -> None:
    exact = make("outputs/z", "B-256-s0-55555555")
    make("outputs/a", "B-256-fc-s0-55555555")
    assert find_run("B-256").path == exact


def test_what_two_sweeps_have_is_not_guessed_unless_one_comes_first() -> None:
    mine = make("mine", IDS[1])
    make("outputs/demo", IDS[1])
    with pytest.raises(ConfigError) as told:
        find_run("D-jitter")
    assert str(told.value) == (f"D-jitter may be outputs/demo/{IDS[1]} or outputs/photos/{IDS[1]}; name one of them.")
    assert find_run("photos/D-jitter").path == Path("outputs/photos") / IDS[1]
    assert find_run("D-jitter", first=Path("outputs/demo")).path == Path("outputs/demo") / IDS[1]
    assert find_run("D-jitter", first=Path("mine")).path == mine
    assert find_run("A", first=Path("mine")).path == Path("outputs/photos") / IDS[3]


@pytest.mark.parametrize(
    ("word", "near"),
    [("D-jiter", "D-jitter-s0-22222222"), ("A-256-s0-44444445", "A-256-s0-44444444"), ("d-256", "D-2")],
)
def test_the_nearest_is_named(word: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean outputs/photos/{near}"):
        find_run(word)


def test_where_nothing_is_near_some_are_named() -> None:
    with pytest.raises(ConfigError, match=r"there are .*, .*, .* and .*\.$"):
        find_run("xyz")
    make("outputs/photos", "E-256-s0-55555555")
    with pytest.raises(ConfigError, match=r"and 2 more\.$"):
        find_run("xyz")


def test_a_sweep_is_no_run() -> None:
    with pytest.raises(ConfigError, match=r"it holds the folders of 4 runs; name one, such as outputs/photos/A-256"):
        find_run("outputs/photos")


def test_a_word_is_not_the_run_in_which_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path("outputs/photos") / IDS[0])
    with pytest.raises(ConfigError, match="there is none under outputs/ yet"):
        find_run("D-256")


def test_completion_has_ids_and_the_names_of_one_run_alone() -> None:
    make("outputs/demo", "A-256-s1-66666666")
    assert set(names()) == {*IDS, "A-256-s1-66666666", "D-256", "D-jitter", "D-jitter-fc"}


def test_a_run_that_has_lost_its_configuration_is_told_so() -> None:
    folder = Path("outputs/one/A-256-s0-00000001")
    (folder / "posteriors").mkdir(parents=True)
    (folder / "config.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(ConfigError, match=r"A-256-s0-00000001 holds .* but no config.yaml; put back a copy"):
        find_run(str(folder))
