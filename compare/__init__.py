"""Which formula is wrong? Judges a DDPM against the papers, stage by stage, without training.

    import compare
    print(compare.run(MyScheduler))

    @pytest.mark.parametrize("check", compare.checks(MyScheduler), ids=lambda check: check.id)
    def test_scheduler(check): assert check.passed, check.message

On the command line: `ddpm compare --candidate mine.py:MyScheduler`.

What is where, from the bottom up; imports go one way::

    oracle/     the papers once, in float64; every formula a seam that a mistake replaces
    candidate/  somebody else's code: loaded, built, called; every answer is kept
                (`door/`: how it is called, read before anything is judged)
    measure/    from answers to numbers, each with how far from right it may be
    formulas/   which formula a measured curve is: a wrong coefficient in letters, by no catalogue
    stages/     what is judged, a file each: yields checks of a subject against an oracle
    mistakes/   the catalogue: each wrong formula once, with its words and what to write instead
    backends/   both backends without a candidate: networks, training, the organ swap
    verdict/    conventions, diagnosis, what is known of Diffusers, the report and its page
    bring/      a candidate put to use: a scheduler or a network that trains and draws
    cli.py      the arguments; the candidate runs in a process of its own (process.py, child.py)
    expected.py known failures by file, for somebody's CI

How a verdict comes about: `cli.py` has `process.py` start `child.py`, which asks
`verdict/judge.py`. A name is loaded (`candidate/load.py`) and becomes a `Subject`, which builds
schedulers and keeps what they answer. `candidate/door` reads how it is called from its names, lists
and calls; where these say nothing, `verdict/door` tries what else would fit. `verdict/conventions`
reads off what the candidate does without naming it. `verdict/staged.py` goes through `stages.ALL`:
each yields checks of the subject against the right oracle (`measure/` has the numbers). If one
fails, `verdict/diagnose.py` reads the same stages with an oracle in which one formula is a mistake
of the catalogue, up to the first check that does not hold; the candidate is not called again for
that. Of the mistakes that explain what failed first and spoil nothing else, the one that leaves
least is the diagnosis, and its docstring is what the verdict says. Where there is none, and beside
what is named, `formulas/naming.py` tells the wrong coefficients in letters ("your x_t has ..."):
`parts/measured.py` has them, `bases/` writes them in each basis of each sampler, `accounts.py`
finds formulas. A network has no formula that an oracle could have: its checks name what they show.
`verdict/report.py` makes lines of it all, the first of which is the first diagnosis.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

from compare.candidate.door.reading import told_by
from compare.candidate.load import Adapter
from compare.measure.check import Check
from compare.verdict.report import Diagnosis, Report

__all__ = [
    "Adapter",
    "Check",
    "Diagnosis",
    "Report",
    "as_loop",
    "as_network",
    "as_scheduler",
    "as_unet",
    "checks",
    "run",
]
BROUGHT = {  # what needs torch, and where it is
    "as_loop": "compare.bring.own_loop",
    "as_network": "compare.candidate.model.network",
    "as_scheduler": "compare.bring.own_scheduler",
    "as_unet": "compare.bring.own_unet",
}


def run(
    candidate: Any = None,
    level: Literal["quick", "full"] = "quick",
    seed: int = 0,
    reading: str | Sequence[str] = (),
    beside: bool = False,
) -> Report:
    """Judges a candidate, or both backends where none is given, against the oracle.

    Args:
        candidate: a class or factory, `"FILE.py:NAME"`, `"package.module:NAME"`, an `Adapter`, or a
            function whose names say which of an adapter's roles it fills.
        level: `"quick"` looks at every formula; `"full"` also at every chain and with every option.
        seed: of the probes.
        reading: how it is called where its code does not say so: `"step=x,t,out"`, `"t=1"`, or
            several such words, as of `ddpm compare --reading`.
        beside: judges scratch and Diffusers as well, whose figures and curves `to_dict()` then has
            beside the candidate's. It takes two verdicts more; without a candidate it is always so.

    Returns:
        The report; what the candidate does wrong, or raises, is in it.

    Raises:
        ValueError: `level` is neither `"quick"` nor `"full"`, or a word of `reading` is unknown.
    """
    if level not in ("quick", "full"):
        raise ValueError(f"level must be 'quick' or 'full', got {level!r}")
    told = told_by(reading)
    from compare.verdict.judge import judge

    return judge(candidate, level, seed, reading=told, beside=beside or candidate is None)


def checks(
    candidate: Any,
    level: Literal["quick", "full"] = "quick",
    seed: int = 0,
    reading: str | Sequence[str] = (),
) -> list[Check]:
    """The checks of `run(candidate)`, for `pytest.mark.parametrize`."""
    return run(candidate, level, seed, reading).checks


def __getattr__(name: str) -> Any:
    """`as_network` and the like, which need torch: `import compare` is quick without it."""
    if name in BROUGHT:
        return getattr(import_module(BROUGHT[name]), name)
    raise AttributeError(f"module 'compare' has no attribute {name!r}")
