"""Which formula is wrong? Judges a DDPM against the papers, stage by stage, without training.

    import compare
    print(compare.run(MyScheduler))

    @pytest.mark.parametrize("check", compare.checks(MyScheduler), ids=lambda check: check.id)
    def test_scheduler(check): assert check.passed, check.message

On the command line: `ddpm compare --candidate mine.py:MyScheduler`.
"""

from typing import Any, Literal

from compare.candidate.load import Adapter
from compare.measure.check import Check
from compare.verdict.report import Diagnosis, Report

__all__ = ["Adapter", "Check", "Diagnosis", "Report", "checks", "run"]


def run(candidate: Any = None, level: Literal["quick", "full"] = "quick", seed: int = 0) -> Report:
    """Judges a candidate, or both backends where none is given, against the oracle.

    Args:
        candidate: a class or factory, `"FILE.py:NAME"`, `"package.module:NAME"`, or an `Adapter`.
        level: `"quick"` looks at every formula; `"full"` also at every chain and with every option.
        seed: of the probes.

    Returns:
        The report; what the candidate does wrong, or raises, is in it.

    Raises:
        ValueError: `level` is neither `"quick"` nor `"full"`.
    """
    if level not in ("quick", "full"):
        raise ValueError(f"level must be 'quick' or 'full', got {level!r}")
    from compare.verdict.judge import judge

    return judge(candidate, level, seed)


def checks(candidate: Any, level: Literal["quick", "full"] = "quick", seed: int = 0) -> list[Check]:
    """The checks of `run(candidate)`, for `pytest.mark.parametrize`."""
    return run(candidate, level, seed).checks
