"""Functions in which specs did not finish: who waited for one twice need not wait for it in every spec that calls it."""

import traceback
from pathlib import Path
from types import CodeType

from specs import clock
from specs.door import relative, source, sources
from specs.plugin.culprit import kata_of

ENOUGH = 2  # specs that wait as long as they may

_ended: list[CodeType] = []  # equal functions of two files are equal code, so what counts is identity


def note(error: clock.Endless, path: Path) -> None:
    """Counts the function in which a spec of this file ran out of time; if it was a suspect already, the error says so."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [code for code in codes if code.co_filename in sources()]
    suspected = [code for code in inside if _among(code, clock.suspects)]
    if suspected:
        name = f"{suspected[-1].co_qualname} in {relative(suspected[-1].co_filename)}"
        error.args = (f"{name} did not finish twice, so no spec waits for it any more.",)
        return
    kata = kata_of(path)
    own = [code for code in inside if kata and code.co_filename == str(source(kata))]
    if inside:  # as in the report: the kata's own function rather than one of an earlier kata, which it calls in a loop
        function = (own or inside)[-1]
        _ended.append(function)
        if _among(function, _ended) == ENOUGH:
            clock.suspects.append(function)


def _among(code: CodeType, codes: list[CodeType]) -> int:
    return sum(code is other for other in codes)
