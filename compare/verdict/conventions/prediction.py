"""What the model of a loss or a loop predicts, where nothing says it."""

import re
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

from compare import stages
from compare.candidate.door.names import plain, predicted
from compare.candidate.door.reading import MINUS, PLAIN, SCORE, Fact
from compare.candidate.door.signature import named_keywords, written
from compare.candidate.door.source import compared, outputs_in, parsed
from compare.candidate.load import Broken
from compare.candidate.loop.look import look
from compare.candidate.subject import OTHER_NAMES, Subject
from compare.measure.loop_steps import HUGE, end_right, steps_of, visits
from compare.oracle import KINDS, Oracle
from compare.stages.stage import Stage

OF_LOSS = re.compile("loss|objective")
OF_KIND = re.compile("kind|predict|objective|target|paramet(er|r)i[sz]ation")  # its words are such


def kind_called(word: object) -> str | None:
    """What a model predicts by Diffusers' word for it, or by another that is usual."""
    usual = {kind: kind for kind in KINDS} | {OTHER_NAMES[kind]: kind for kind in KINDS}
    return usual.get(word) if isinstance(word, str) else None


def read_prediction(subject: Subject, known: set[str]) -> Fact:
    """What the model predicts, and how that is known; what values say is the subject's too.

    Of a scheduler its steps have shown it. Else a loss shows it, if all its checks hold with one
    kind; if it does not, a loop, by its steps. Of a loss alone, which may have a wrong target as
    well, another kind than the contract's is left open unless it calls the output so, and so it is
    of a loop alone that calls it by the contract's name. Where alpha-bar ends at 0 noise cannot be
    what is predicted, and nothing is left open. If none holds, that name decides; naming may take
    any kind of a loss that gives none.
    """
    said = subject.setting.prediction_type
    if "prediction_type" in known:
        return Fact(said, "declared", "it is said by name")
    if subject.has("step"):
        return _beside_steps(subject)
    for who, stage in (("its loss", stages.LOSS), ("its loop", stages.SAMPLING)):
        shown = kind_shown(subject, stage) if stage.is_met(subject) else None
        if shown is None:
            continue
        kind, silent = shown.setting.prediction_type, subject.scheduler().lacks_signal()
        by_name = kind_named(subject)
        if kind == said and not silent and stage is stages.SAMPLING and by_name not in (None, kind):
            subject.setting = replace(subject.setting, prediction_type=str(by_name))
            return Fact(by_name, "declared", "its loop calls the model's output so", (kind,))
        if kind == said:
            return Fact(said, "behaviour", f"{who} is right so") if silent else Fact(said)
        if by_name != said and silent:
            subject.setting = shown.setting
            why = f"{who} is right so, and its table ends without the image"
            return Fact(kind, "behaviour", why)
        if not subject.has("sample") and by_name not in (None, said):
            return _declared(subject, str(by_name))
        if not subject.has("sample") or (stage is stages.SAMPLING and by_name == said):
            return Fact(said, others=(kind,))
        subject.setting = shown.setting
        return Fact(kind, "behaviour", f"{who} is right so")
    by_name = kind_named(subject)
    if by_name is not None and by_name != said:
        return _declared(subject, by_name)
    if subject.has("sample") and subject.scheduler().lacks_signal():
        return _without_signal(subject, by_name)
    if by_name is None and not subject.has("sample"):
        others = (replace(subject.setting, prediction_type=kind) for kind in KINDS if kind != said)
        subject.kinds += tuple(others)
    return Fact(said)


def _beside_steps(subject: Subject) -> Fact:
    """What the steps have shown; where they are those of no kind, what a loss beside them shows."""
    said = subject.setting.prediction_type
    shown = None
    if subject.kinds and stages.LOSS.is_met(subject):
        shown = kind_shown(subject, stages.LOSS)
    if shown is None or shown.setting.prediction_type == said:
        return Fact(said, "behaviour", "its steps are those")
    kind = shown.setting.prediction_type
    subject.setting = replace(subject.setting, prediction_type=kind)
    kinds = dict.fromkeys((subject.setting, *subject.kinds))
    subject.kinds = tuple(each for each in kinds if each.prediction_type == kind)
    return Fact(kind, "behaviour", "its loss is right so, and its steps are those of none")


def read_answers(subject: Subject, declared: bool) -> Fact:
    """Whether the model gives what it predicts, minus that, or the score: that with which a loss,
    and a loop or a step beside it, are right, where the loss is not by the contract; or the loss
    alone, where what is beside it is wrong by the contract too.

    Args:
        subject: whose setting and answers are then those of that reading.
        declared: what the model predicts is said by name.
    """
    beside = [s for s in (stages.SAMPLING, stages.MEAN) if s.is_met(subject)][:1]
    if not subject.has("loss") or not beside or _is_right(subject, stages.LOSS):
        return Fact(PLAIN)
    said = subject.setting.prediction_type
    kinds = [said] if declared else sorted(KINDS, key=lambda kind: kind != said)
    by_loss: list[Subject] = []
    for kind, answers in product(kinds, (MINUS, SCORE)):
        read = subject.reading(prediction_type=kind)
        read.answers, read.door = {}, subject.door.told({"answers": Fact(answers)})
        is_score_of_another = answers == SCORE and kind != "epsilon"
        if not is_score_of_another and _is_right(read, stages.LOSS):
            by_loss.append(read)
    chosen = next((read for read in by_loss if _is_right(read, beside[0])), None)
    why = "its loss is right so, and what is beside it"
    if chosen is None and by_loss and not _is_right(subject, beside[0]):
        chosen, why = by_loss[0], "its loss is right so, and nothing beside it by the contract"
    if chosen is None:
        return Fact(PLAIN)
    subject.setting, subject.answers = chosen.setting, chosen.answers
    kind = chosen.setting.prediction_type
    subject.door = subject.door.told({"prediction": Fact(kind, "behaviour", why)})
    return replace(chosen.door.answers, rank="behaviour", evidence=why)


def _is_right(subject: Subject, stage: Stage) -> bool:
    with suppress(Broken):
        return all(check.told().passed for check in stage.of(subject, Oracle()))
    return False


def _without_signal(subject: Subject, by_name: str | None) -> Fact:
    """What the model of a loop predicts that is right by no kind, where alpha-bar is 0: v, unless
    it is called noise, or the answers of either model are divided by that."""
    if by_name is not None:
        return _declared(subject, by_name)
    of_v = subject.reading(prediction_type="v_prediction")
    with suppress(Broken):
        for each in (subject, of_v):
            run = look(each, each.scheduler().alpha_bars(Oracle()))
            if not bool((run.size < HUGE).all() & run.result.isfinite().all()):
                why = "its loop divides by what is 0 at alpha-bar = 0"
                return Fact("epsilon", "behaviour", why)
    subject.setting = replace(subject.setting, prediction_type="v_prediction")
    return Fact("v_prediction", "behaviour", "its table ends without the image")


def _declared(subject: Subject, kind: str) -> Fact:
    subject.setting = replace(subject.setting, prediction_type=kind)
    who = "loop" if subject.has("sample") else "loss"
    return Fact(kind, "declared", f"its {who} calls the model's output so")


def kind_named(subject: Subject) -> str | None:
    """What the model of a loop, or of a loss alone, predicts by the names of its output, if they
    agree; of a loss also v, by that of what the output is compared with: whose target is called
    otherwise may have taken a wrong one."""
    roles = [role for role in ("sample", "loss") if subject.has(role)]
    for role in roles[:1]:
        tree = parsed(written(subject.function(role)))
        found: set[str | None] = set(map(predicted, outputs_in(tree))) if tree else set()
        targets = [predicted(name) for name in compared(tree)] if tree and role == "loss" else []
        if "v_prediction" in targets:  # and a name that says nothing does not say another
            found = {"v_prediction", *found} - {None}
        if role == "loss" and not found - {None}:
            called = written(subject.function(role)).__name__
            alone = subject.name.rpartition(":")[2] if called == "<lambda>" else called
            found = {_kind_of_loss(alone) or _kind_by_default(written(subject.function(role)))}
        return found.pop() if len(found) == 1 else None
    return None


def _kind_by_default(loss: Any) -> str | None:
    """What a model predicts by the word that is the default of a parameter for it.

    >>> _kind_by_default(lambda model, x, kind="x0": None)
    'sample'
    """
    words = {plain(name): value for name, value in named_keywords(loss).items()}
    said = {
        predicted(v) for name, v in words.items() if isinstance(v, str) and OF_KIND.search(name)
    }
    return said.pop() if len(said) == 1 else None


def _kind_of_loss(name: str) -> str | None:
    """What a model predicts whose loss is called so.

    >>> [_kind_of_loss(name) for name in ("v_loss", "x0_objective", "simple_loss", "Noisy")]
    ['v_prediction', 'sample', None, None]
    """
    word = plain(name)
    return predicted(OF_LOSS.sub("", word)) if OF_LOSS.search(word) else None


def kind_shown(subject: Subject, stage: Stage) -> Subject | None:
    """The subject with the first kind with which a stage holds, its own before others."""
    said = subject.setting.prediction_type
    for kind in sorted(KINDS, key=lambda kind: kind != said):
        try:
            if stage is stages.SAMPLING and _excluded(subject, kind):
                continue
            read = subject if kind == said else subject.reading(prediction_type=kind)
            if _holds(read, stage):
                return read
        except Broken:
            return None
    return None


def _excluded(subject: Subject, kind: str) -> bool:
    """True if the steps that a loop was seen to take are sums, but not those of this kind, or are
    none that could be judged by any; or if there can be none of this kind, where alpha-bar is 0.

    A step that limits x_0 is no sum, whatever it takes the answers for: then another run tells.
    """
    scheduler = subject.reading(prediction_type=kind).scheduler()
    if scheduler.lacks_signal():
        return True
    if kind == subject.setting.prediction_type:
        return False
    table, setting = subject.scheduler().alpha_bars(Oracle()), subject.setting.unlimited
    run, setting = look(subject, table), replace(setting, prediction_type=kind)
    steps = steps_of(run, Oracle(), setting, table, visits(run, Oracle(), setting, table))
    return steps is None or (run.drawn is not None and not end_right(steps, setting))


def _holds(subject: Subject, stage: Stage) -> bool:
    """True if all checks hold; of a loop, if all its steps end exactly where they should.

    What a loop starts from, and what it makes of its last step, do not hang on what is predicted.
    """
    hold, of_steps = True, "sampling/loop/steps"
    for check in stage.of(subject, Oracle()):
        if check.id == of_steps and not check.passed:
            return False
        told = check.told()
        if told.id == of_steps:
            return told.passed
        hold = hold and told.passed
    return hold
