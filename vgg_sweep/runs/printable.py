"""Text that every terminal and file can hold, whatever the names of files in it; commands start with it."""

import codecs

NAME_BYTE = 0xDC00
"""As Python decodes names of files, a byte that is not of UTF-8 is a character from here on."""
IN_PRINT = "printable"
"""What a stream's or an encoding's `errors` are called under which nothing is too odd to be written."""


def printable(text: str) -> str:
    """`text` for people and for UTF-8: of a name that is not UTF-8, each odd byte as in `fr\\xfc.jpg`."""
    return text.encode("utf-8", IN_PRINT).decode()


def _in_print(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a terminal or a file cannot hold: the bytes of names, else question marks."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    bytes_or_marks = [
        f"\\x{ord(each) - NAME_BYTE:02x}" if 0x80 <= ord(each) - NAME_BYTE < 0x100 else "?" for each in characters
    ]
    return "".join(bytes_or_marks), error.end


codecs.register_error(IN_PRINT, _in_print)
