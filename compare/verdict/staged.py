"""The stages of one subject, read in order: what they say, what is known, and what is wrong."""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from compare import stages
from compare.candidate.door.names import CALLED, plain
from compare.candidate.door.reading import CANONICAL
from compare.candidate.interrupts import Interrupted
from compare.candidate.load import Broken, Unloadable, is_ours, our_line, raised
from compare.candidate.loop.calls import loop_tells, loop_told
from compare.candidate.scheduler import NOTHING
from compare.candidate.subject import Subject
from compare.candidate.text.ready import how_to_adapt
from compare.measure.check import Check, Status, found, note
from compare.mistakes import BY_ID, MISTAKES
from compare.oracle import Oracle
from compare.stages.stage import Stage
from compare.verdict.diagnose import diagnose, mark_known
from compare.verdict.diffusers import Finding
from compare.verdict.report import ALONE, Diagnosis, Report

Progress = Callable[[str, list[Check]], None]
OF_CHAINS = {word for role in ("step", "sample", "loss") for word in CALLED[role].split()}
NO_SIGNAL = "alpha-bar is 0 at some t"
WITHOUT_SIGNAL = (stages.FORWARD, stages.LOSS)  # which divide by none of it
NEEDS_SIGNAL = "end above 0 (beta at most 0.999), or predict v (Lin et al. 2024, section 3.3)"
NEEDS_BETA = "begin and end with beta above 0"
NO_BETA = "alpha-bar is 1 at every t: no noise is added at all"
NO_NOISE = "alpha-bar is not finite or 1 - alpha-bar is 0"


def is_asked(only: str | None, stage: str) -> bool:
    """True if all is asked for, or this stage, or a check of it."""
    return only is None or only.partition("/")[0] == stage


def needed(asked: Collection[str]) -> tuple[Stage, ...]:
    """The stages that are asked for; before one that rests on the steps, all of theirs."""
    names = [stage.name for stage in stages.ALL]
    resting = [i for i, stage in enumerate(stages.ALL) if stage.on_steps and stage.name in asked]
    before = names[: max(resting, default=0)]
    return tuple(stage for stage in stages.ALL if stage.name in (*asked, *before))


def judge_stages(
    report: Report, subject: Subject, asked: tuple[Stage, ...], progress: Progress | None
) -> None:
    """Reads the stages in order, marks what is known of Diffusers, and names what is left."""
    oracle, shared, ended = Oracle(), dict[str, Finding](), list[Check]()
    singular: list[Check] = []  # steps from where no noise says what the image is
    report.absent = {s.name: s.lacking(subject) for s in asked if not s.is_met(subject)}
    for stage in asked:
        if stage.on_steps:
            subject.steps_pass = all(c.passed for c in report.checks)
        checks = read_stage(stage.name, stage.of(subject, oracle))
        shared |= {f.id: f for f in mark_known(subject, stage, checks, shared.values())}
        report.checks += checks
        if progress is not None and checks:
            progress(stage.name, checks)
        if stage is stages.SCHEDULE and not usable(subject):
            noise = subject.scheduler().has_noise()
            one = noise and subject.scheduler().without_signal() == 1  # the last, where x_T is
            left = [s for s in asked if one and s in WITHOUT_SIGNAL and s.is_met(subject)]
            unusable = NO_SIGNAL if noise else NO_NOISE
            later = {s.name: unusable for s in asked if s is not stage and s not in left}
            report.absent = {**later, **report.absent}
            right = all(c.passed for c in report.checks)  # else they say why
            ended.append(_not_usable(subject, right, unusable))
            singular = [ended[-1]] if ended[-1].status == "differs" else []
            asked = (stage, *left)
            for other in left:
                report.checks += read_stage(other.name, other.of(subject, oracle))
            break
    alone = {stage.name: stage for stage in asked if stage.by_itself}
    others = [c for c in report.checks if c.stage not in alone]
    if not all(c.passed for c in others):
        judged = tuple(stage for stage in asked if not stage.by_itself)
        report.diagnoses = diagnose(subject, judged, others, MISTAKES)
    failing = [c for c in report.checks if c.stage in alone and not c.passed]
    report.diagnoses += named_by_themselves(failing, alone)
    for c in singular:
        fix = NEEDS_BETA if c.message == NO_BETA else NEEDS_SIGNAL
        report.diagnoses.append(Diagnosis(None, c.stage, c.message, fix))
    of_tables = (stages.SCHEDULE, stages.OF_TABLES)
    if not any(s.is_met(subject) for s in stages.ALL if s not in of_tables):
        ended.append(_of_tables(subject))
    report.checks = [replace(check, compared=None) for check in (*report.checks, *ended)]
    report.findings = [f.plain() for f in shared.values()]
    report.readings = subject.door.plain()
    report.conventions = subject.conventions
    report.not_offered = sorted(set(subject.not_offered))


def _not_usable(subject: Subject, right: bool, why: str) -> Check:
    """What is said of a table that ends every stage of a step; `right` if it is right so far.

    Where noise is predicted and nothing is left of the image, who takes no step is right.
    """
    id, text = "schedule/usable", f"{why}: later stages are not judged"
    status: Status = "note"
    said = replace(subject.door.prediction, others=())
    if right and why is NO_NOISE:
        status = "error"
        table = subject.scheduler().table()
        if table is not None and bool((table == 1).all()):
            status, text = "differs", NO_BETA
    elif right and subject.scheduler().without_signal() > 1:
        table = subject.scheduler().alpha_bars(Oracle())
        id, status, first = "reading", "error", int((table > NOTHING).sum())
        text = f"alpha-bar is 0 from t={first} on, at {len(table) - first} of {len(table)} steps, "
        text += "from where nothing of the image can come back: are its betas what they should be?"
    elif right and (subject.has("step") or subject.has("sample")):
        sure = said != CANONICAL.prediction and _begins_at_nothing(subject)
        status = "differs" if sure else "error"
        text = f"{why}, where noise that a model predicts says nothing of the image: x0-hat is "
        text += "divided by sqrt(alpha-bar) = 0"
    return found(id, status, text, reason="")


def _begins_at_nothing(subject: Subject) -> bool:
    """False for a loop that does not ask its model where alpha-bar is 0."""
    if subject.has("step"):
        return True
    with contextlib.suppress(Broken):
        table = subject.scheduler().alpha_bars(Oracle())
        said, tells = loop_told(subject, table), loop_tells(subject, table)
        if tells is not None:
            at = tells.steps(said).long() - subject.t_base
            return bool((table[at.clamp(0, len(table) - 1)] <= NOTHING).any())
    return True


def _of_tables(subject: Subject) -> Check:
    """That tables alone were judged; of a class that is more than they, neither right nor wrong."""
    text, how = "tables alone were judged", ""
    if subject.adapter is not None:
        return note(ALONE, text)
    if command := how_to_adapt(subject.name):
        how = f": {command} writes an adapter for what else is in it"
    first = subject.first
    methods = [name for name, _ in inspect.getmembers(type(first), inspect.isroutine)]
    methods += [
        name for name, value in getattr(first, "__dict__", {}).items() if inspect.isroutine(value)
    ]
    more = [name for name in methods if plain(name) in OF_CHAINS and not name.startswith("_")]
    if not more:
        return note(ALONE, text + how)
    words = f"{text}, and right, and not its {' and '.join(more)}{how or ': an Adapter says how'}"
    return Check("reading", "schedule", "error", words)


def named_by_themselves(failing: list[Check], stages: dict[str, Stage]) -> list[Diagnosis]:
    """The mistakes that checks name, one each; where none does, all that fails.

    What has no name may follow from what has one.
    """
    found: dict[str, Diagnosis] = {}
    for check in [c for c in failing if c.bug] or failing:
        if check.bug:
            mistake = BY_ID[check.bug]
            words = f"{mistake.words}: {check.message}"
            named = Diagnosis(mistake.id, check.stage, words, mistake.fix, mistake.name)
            found.setdefault(mistake.id, named)
            continue
        fix = f"should be {check.right or stages[check.stage].right}"
        fix = "make it run, then compare again" if check.status == "error" else fix
        words = f"{check.id.partition('/')[2]}: {check.message}"
        found[check.id] = Diagnosis(None, check.stage, words, fix)
    return list(found.values())


def read_stage(name: str, checks: Iterable[Check]) -> list[Check]:
    """What a stage yields, as a report tells it; what ends it is a check too."""
    told: list[Check] = []
    with kept(told, f"{name}/run", name):
        for check in checks:
            # not all at once: what comes before a failure is kept
            told.append(check.told())
    return told


@contextlib.contextmanager
def kept(checks: list[Check], name: str, stage: str) -> Iterator[None]:
    """Adds what fails inside as one more check, after those that there are."""
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        checks.append(_failed(name, stage, error))


def _failed(name: str, stage: str, error: BaseException) -> Check:
    """An error as a check: what the candidate did instead of answering, or a fault of ours."""
    if isinstance(error, Unloadable | Broken):
        text = str(error)
    elif is_ours(error):
        text = f"compare itself failed here ({our_line(error)}); please report it"
    else:
        text = f"it raises {raised(error)}"
    return Check(name, stage, "error", text)


def usable(subject: Subject) -> bool:
    """Later stages need a finite table with some noise at every t."""
    try:
        return subject.scheduler().usable()
    except Broken:
        return True
