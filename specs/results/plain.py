"""Text that a learner's code made, fit for a terminal."""

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    r"""Control characters as a Python string would have them, ESC as \x1b, so that a terminal does not obey them.

    Tabs and line ends stay.
    """
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
