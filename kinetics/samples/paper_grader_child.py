"""The child process of `paper_grader`: one JSON question a line on stdin, one JSON verdict a line on stdout."""

import json
import re
import resource
import sys
from typing import Any, Final

from kinetics.samples.paper_grader import READY

MAX_MEMORY_BYTES: Final = 4 * 2**30
PRECISION: Final = 5
_NUMBER: Final = re.compile(r"\s*\$?[-+]?[0-9][0-9,.]*(?:\^\s*\{?\\circ\}?|\\%|%)?\$?\s*")
"""Golds that are read as the paper's set-up reads them; others are expressions, read as LaTeX."""


def main() -> None:
    """Grade until stdin ends. Its memory is limited: some answers expand without bound."""
    try:
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    except ImportError as error:
        print(error, flush=True)
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    sys.set_int_max_str_digits(4300)
    print(READY, flush=True)
    targets = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
    for line in sys.stdin:
        question = json.loads(line)
        reason, answer, is_correct = "", "", False
        # The parent limits the time; math-verify's own limits use signals and are off.
        try:
            gold = parse(question["gold"], extraction_config=[ExprExtractionConfig()], parsing_timeout=None)
            if not _NUMBER.fullmatch(question["gold"]):
                latex = [LatexExtractionConfig()]
                gold = parse(f"${question['gold'].strip('$ ')}$", extraction_config=latex, parsing_timeout=None) or gold
            found = parse(question["text"], extraction_config=targets, parsing_timeout=None)
            found = [_valued(one) for one in found]
            answer = str(found[0])[:200] if found else ""
            reason = "" if found else "no answer"
            is_correct = bool(verify(gold, found, float_rounding=PRECISION, timeout_seconds=None))
        except Exception as error:  # a verdict is owed whatever math-verify raises; the reason goes with it
            reason = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps({"is_correct": is_correct, "answer": answer, "reason": reason}), flush=True)


def _valued(found: Any) -> Any:
    """A percentage as the number it is: math-verify now takes 25 % for 25, too."""
    from sympy import Mul, Rational, UnevaluatedExpr

    is_percentage = isinstance(found, Mul) and UnevaluatedExpr(Rational(1, 100)) in found.args
    return found.doit() if is_percentage else found


if __name__ == "__main__":
    main()
