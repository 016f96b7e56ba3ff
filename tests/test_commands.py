from vgg_sweep.commands import command, flat, merged


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_commands_can_be_pasted() -> None:
    assert command("score", "data.root=my photos") == "vgg-sweep score 'data.root=my photos'"


def test_commands_that_differ_in_one_place_become_one() -> None:
    lines = [
        command("multirun", f"model={net}", f"train_scale={S}", "crop=64")
        for net, S in (("A", "256"), ("C", "256"), ("C", "384"), ("D", "384"), ("C", "jitter"), ("D", "jitter"))
    ]
    assert merged([*lines, "", lines[0]]) == [
        "vgg-sweep multirun model=A,C train_scale=256 crop=64",
        "vgg-sweep multirun model=C,D train_scale=384,jitter crop=64",
    ]


def test_merging_keeps_quotes() -> None:
    assert merged([command("multirun", "model=A", "out=a b")]) == ["vgg-sweep multirun model=A 'out=a b'"]
