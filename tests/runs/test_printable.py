"""Text for every terminal and file."""

import os

from vgg_sweep.runs.printable import IN_PRINT, printable


def test_an_odd_byte_of_a_name_is_printed_as_an_escape_and_all_else_as_it_is() -> None:
    assert printable(os.fsdecode(b"caf\xe9/\xc3\xbc.jpg")) == "caf\\xe9/ü.jpg"
    assert "é – \udce9".encode("ascii", IN_PRINT) == rb"? ? \xe9"
