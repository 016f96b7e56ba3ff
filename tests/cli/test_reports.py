"""What a shell makes of the words of a report."""

from vgg_sweep.cli.reports import SORTABLE, completes


def test_settings_values_and_formats_complete_also_behind_a_comma() -> None:
    complete_by = completes(SORTABLE)
    assert {"recipe.lr", "recipe.last_batch"} <= set(complete_by("recipe.l")) and complete_by("devi") == []
    assert complete_by("model,se") == ["model,seed"] and "train_scale" in complete_by("")
    assert completes("report.tables.pivot.VALUES")("top1_error,tr") == ["top1_error,train_seconds"]
    assert completes("report.report.ALL_FORMATS")("md,c") == ["md,csv"]
