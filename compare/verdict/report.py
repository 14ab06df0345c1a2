"""What a comparison found: checks, diagnoses, shared findings, conventions; printed verdict first.

The JSON written by `ddpm compare --json` is `Report.to_dict()`:

- `schema`: 2; `candidate`, `level`, `seed`, `seconds`, `versions` {python, torch, diffusers};
- `passed`: bool; `exit_status`: 0 right, 1 differs, 2 could not be run or decided;
- `verdict`: one sentence;
- `checks`: list of {`id`, `stage`, `status` (equal, close, differs, known, follows, expected, note,
  error),
  `passed`, `measured` and `allowed` (numbers or null; the largest deviation and what is allowed at
  that element), `message`, `input`, `reason` (why that much is allowed),
  `beside` {name: measured} for scratch and Diffusers, `repro` (a command), `bug` (the
  mistake that a note is about, or that a failing check of a network shows) and `formula` (the
  weight of a loss, as it was read off)};
- `diagnoses`: list of {`bug` (id in the catalogue or null), `name` (the same in words, or null),
  `stage`, `explanation`, `fix`, `twin` (the id of another mistake that gives the same numbers
  here, less likely, or null), `formula` (the coefficients that were read off, what each is and
  should be, or null), `fitted` (true if a number in that was fitted)}, root cause first; `ddpm
  explain` takes `bug`, `name` or `twin`;
- `findings`: list of {`id`, `title`, `right`, `effect`, `command`, `shows`, `versions`, `bug`}
  shared with Diffusers; `gone`: what the installed Diffusers no longer shows of the known findings;
- `readings` (new in schema 2): how it is called, {fact: {`value`, `rank` of its evidence (declared,
  structural, behaviour), `evidence`, `others` that would fit, and `words` for what departs from the
  contract}}; `adapter` among them is the command that prints the adapter by which it was judged;
- `holds_again`: list of strings, the checks of `--expect FILE` that do not fail;
- `conventions`: {name: value read off}; `not_offered`: list of strings;
- `judged`: list of stages; `not_judged`: {stage: why};
- `curves`: {name: {series: list of numbers}} for the pictures of the page.
"""

import contextlib
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from compare.measure.check import Check

ALONE = "schedule/alone"  # the note on a candidate of which tables alone were judged
MUCH_LEFT = 0.5  # of the image in x_T: nothing begins so that begins with noise


@dataclass(frozen=True)
class Diagnosis:
    """The formula that is wrong: an entry of the catalogue, or only the stage if `bug` is None.

    `twin` is another entry that gives the same numbers, less likely; the explanation says both.
    `fitted` is true if a number in `formula` was fitted: by another table it would not be needed.
    """

    bug: str | None
    stage: str
    explanation: str
    fix: str
    name: str | None = None
    twin: str | None = None
    formula: str | None = None
    fitted: bool = False

    @property
    def beside(self) -> str:
        """The formula, where the explanation does not say it already."""
        return "" if self.formula in (None, self.explanation) else str(self.formula)

    @property
    def label(self) -> str:
        """Which entry of the catalogue it is, by number and name."""
        if self.bug is None:
            return "not in the catalogue"
        other = f"; or {self.twin}" if self.twin else ""
        return f"mistake {self.bug}" + (f": {self.name}" if self.name else "") + other


@dataclass
class Report:
    """The outcome of `compare.run`."""

    candidate: str
    checks: list[Check]
    diagnoses: list[Diagnosis] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    holds_again: list[str] = field(default_factory=list)  # that were expected to fail
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    conventions: dict[str, str] = field(default_factory=dict)
    not_offered: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)  # {stage that had nothing to ask: why}
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    level: str = "quick"
    seed: int = 0
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    companion: str = ""  # what the verdict adds on the other backend

    @property
    def passed(self) -> bool:
        """True if something was judged and nothing differs and nothing failed to run."""
        judged = any(c.status != "note" for c in self.checks)
        return judged and all(c.passed for c in self.checks)

    @property
    def exit_status(self) -> int:
        """0 right, 1 differs, 2 could not be run or decided."""
        if any(c.status == "differs" for c in self.checks):
            return 1
        return 0 if self.passed else 2

    def leave_open(self, checks: Iterable[Check], stage: str, why: str) -> None:
        """Blames nothing in these checks of a stage, and says that it is not decided, and why."""
        left = [c for c in self.checks if c not in [*checks]]
        self.checks = [*left, Check("reading", stage, "error", why)]

    @property
    def judged(self) -> list[str]:
        """The stages in which something was judged."""
        found = by_stage(c for c in self.checks if c.status not in ("note", "error"))
        return list(found)

    @property
    def not_judged(self) -> dict[str, str]:
        """{stage: why} of the stages in which nothing was judged."""
        silent = {c.stage: c.message for c in reversed(self.checks)}  # the first check says why
        missing = silent | self.absent
        return {stage: why for stage, why in missing.items() if stage not in self.judged}

    @property
    def _however(self) -> str:
        """What is to be known of what is right: `"; "` and what else it holds, or what its table
        leaves of a picture."""
        told = [c for c in self.checks if c.id.endswith("/left-out")]
        of_table = [c for c in self.checks if c.id == "schedule/terminal"]
        told += [c for c in of_table if c.measured is not None and c.measured > MUCH_LEFT]
        return "".join(f"; {check.message}" for check in told)

    @property
    def verdict(self) -> str:
        """One sentence that a student understands."""
        if self.exit_status == 0:
            judged = sum(c.status not in ("note", "follows") for c in self.checks)
            expected = sum(c.status == "expected" for c in self.checks)
            but = f" but for {expected} expected failure{'s' * (expected > 1)}" * bool(expected)
            agree = judged - expected
            right = f"{self.candidate} is right{but}{self._of_data}"
            right += f": {agree} checks agree with the papers"
            if self.companion:
                return f"{right}. {self.companion}"
            shared = f"; it shares {len(self.findings)} known finding(s)" if self.findings else ""
            return f"{right}{shared}{self._however}.{self._alone}"
        if self.exit_status == 2:
            error = next((c for c in self.checks if c.status == "error"), None)
            why = error.message if error else "there is nothing in it that could be judged"
            if error and error.id == "reading":
                return f"{self.candidate} is undecided: {why}"
            wrong = {c.id.partition("/")[0] for c in self.checks if not c.passed}
            right = ", ".join(stage for stage in self.judged if stage not in wrong)
            right = f" (judged and right: {right})" if right else ""
            return f"{self.candidate} could not be run: {why}{right}"
        stage, what = first_fault(self)
        return f"{self.candidate} differs from the papers in {stage}: {what}"

    @property
    def said(self) -> str:
        """The same without the name of the candidate."""
        return self.verdict.removeprefix(f"{self.candidate} ")

    @property
    def _alone(self) -> str:
        """What a right verdict says of tables whose steps, if there are such, were not seen."""
        said = [check.message for check in self.checks if check.id == ALONE]
        return f" {said[0][0].upper()}{said[0][1:]}." if said else ""

    @property
    def _of_data(self) -> str:
        """What a right verdict says of a candidate that no picture could be handed to: a missing
        axis of `ab[t].view(-1, 1)` broadcasts over the rows of a picture, and is no error."""
        data = self.readings.get("data", {})
        value = str(data.get("value", ""))
        if not value.startswith(("points", "sequences")):
            return ""
        not_pictures = ", and not for pictures (b, c, h, w)" * (data["rank"] == "structural")
        return f" for {value}{not_pictures}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: numbers that JSON lacks become null."""
        return _plain(
            {
                "schema": 2,
                "candidate": self.candidate,
                "level": self.level,
                "seed": self.seed,
                "seconds": round(self.seconds, 3),
                "versions": self.versions,
                "passed": self.passed,
                "exit_status": self.exit_status,
                "verdict": self.verdict,
                "checks": [check.plain() for check in self.checks],
                "diagnoses": [asdict(d) for d in self.diagnoses],
                "findings": self.findings,
                "gone": self.gone,
                "holds_again": self.holds_again,
                "readings": self.readings,
                "conventions": self.conventions,
                "not_offered": self.not_offered,
                "judged": self.judged,
                "not_judged": self.not_judged,
                "curves": self.curves,
            }
        )

    @classmethod
    def of_dict(cls, plain: dict[str, Any]) -> "Report":
        """The report that `to_dict` made plain."""
        given = {f.name: plain[f.name] for f in fields(cls) if f.name in plain}
        given["checks"] = [Check.of_plain(check) for check in plain["checks"]]
        given["diagnoses"] = [Diagnosis(**diagnosis) for diagnosis in plain["diagnoses"]]
        return cls(**given)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def versions() -> dict[str, str]:
    """Versions that a report states."""
    found = {"python": platform.python_version()}
    for package in ("torch", "diffusers"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def first_fault(report: Report) -> tuple[str, str]:
    """Stage and words of the root cause."""
    if report.diagnoses:
        return report.diagnoses[0].stage, report.diagnoses[0].explanation
    check = next(c for c in report.checks if c.status == "differs")
    return check.stage, f"{check.id}: {check.message}"


def by_stage(checks: Iterable[Check]) -> dict[str, list[Check]]:
    """The checks of each stage, in the order in which the stages were judged."""
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.stage, []).append(check)
    return found


def stage_line(stage: str, checks: Iterable[Check]) -> str:
    """A stage folded to one line."""
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.status] = counts.get(check.status, 0) + 1
    bad = counts.get("differs", 0) + counts.get("error", 0)
    said = ", ".join(f"{n} {status}" for status, n in counts.items())
    label = "FAIL" if bad else "note" if set(counts) == {"note"} else "ok"
    return f"{label:4} {stage:10} {said}"


def _lines(report: Report) -> Iterator[str]:
    yield report.verdict
    for fact in report.readings.values():
        if fact["words"]:
            yield f"read: {fact['words']} ({fact['rank']}: {fact['evidence']})"
    for diagnosis in report.diagnoses:
        yield f"\n{diagnosis.stage}: {diagnosis.explanation} [{diagnosis.label}]"
        if diagnosis.beside:
            yield f"  formula: {diagnosis.beside}"
        yield f"  fix: {diagnosis.fix}"
    yield ""
    for stage, checks in by_stage(report.checks).items():
        yield stage_line(stage, checks)
        for check in checks:
            if not check.passed or check.status in ("note", "expected"):
                yield f"       {check.line()}"
    if report.findings:
        yield f"\nfindings {'in' if report.companion else 'shared with'} Diffusers:"
        yield from (f"  {f['id']}: {f['title']}" for f in report.findings)
    if report.gone:
        yield f"\nfindings that Diffusers {report.versions.get('diffusers')} no longer shows:"
        yield from (f"  {line}" for line in report.gone)
    if report.holds_again:
        yield "\nexpected to fail:"
        yield from (f"  {line}" for line in report.holds_again)
    if report.conventions:
        yield "\nconventions, read off and not judged:"
        yield from (f"  {name:14} {value}" for name, value in report.conventions.items())
    if report.not_offered:
        yield "\nnot offered: " + "; ".join(report.not_offered)
    if report.judged or report.not_judged:
        yield ""
    yield from scope(report)


def scope(report: Report) -> Iterator[str]:
    """What was judged and what was not, and why, a line each."""
    if report.judged:
        yield f"judged: {', '.join(report.judged)}"
    if report.not_judged:
        yield f"not judged: {_reasons(report.not_judged)}"


def _reasons(not_judged: dict[str, str]) -> str:
    """Stages that were not judged, those of one reason together.

    >>> _reasons({"mean": "there is no step", "variance": "there is no step"})
    'mean and variance, as there is no step'
    """
    found: dict[str, list[str]] = {}
    for stage, why in not_judged.items():
        found.setdefault(why, []).append(stage)
    return "; ".join(f"{_and(stages)}, as {why}" for why, stages in found.items())


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
