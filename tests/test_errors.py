"""Numbers in sentences."""

import numpy as np

from vgg_sweep.errors import counted


def test_one_is_singular_of_whatever_kind_it_is() -> None:
    assert [counted(number, "run") for number in (0, 1, 1200, np.int64(1))] == [
        "0 runs",
        "1 run",
        "1,200 runs",
        "1 run",
    ]
