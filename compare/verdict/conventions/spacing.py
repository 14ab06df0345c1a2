"""Which spacing the lists of a candidate have, where it does not name one."""

import contextlib
from dataclasses import replace

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.step import OWN, SPACINGS
from compare.oracle import Oracle, Setting
from compare.stages.timesteps import may_be_list

RIGHT = Oracle()
COUNTS = (4, 7, 10)  # 7 divides no usual T


def read_spacing(subject: Subject) -> Setting:
    """The first spacing whose lists these are, or one of the candidate's own.

    If it is none, a list is wrong: that of those whose number divides T stays, else the usual one,
    and naming what is wrong may take any.
    """
    base, T = subject.setting, subject.setting.num_train_timesteps
    known = [
        replace(base, timestep_spacing=spacing, steps_offset=offset)
        for spacing in SPACINGS
        for offset in (0, 1)
    ]
    trials = [(setting, _is_list) for setting in known]
    trials.append((replace(base, timestep_spacing=OWN), may_be_list))
    for counts in (COUNTS, tuple(n for n in COUNTS if T % n == 0)):
        for setting, rule in trials if counts else ():
            scheduler = subject.build(setting)
            assert scheduler is not None  # spacing and offset are not named: nothing else is asked
            with contextlib.suppress(Broken):
                if all(rule(scheduler, n) for n in counts if n <= T):
                    others = (s for s in known if s != setting and counts != COUNTS)
                    subject.kinds += tuple(others)
                    return setting
    subject.kinds += tuple(setting for setting in known if setting != base)
    return base


def _is_list(scheduler: Scheduler, n: int) -> bool:
    numerators, denominator = RIGHT.timesteps(scheduler.setting, n)
    got = scheduler.timesteps(n)
    return len(got) == n and bool(((got * denominator - numerators).abs() * 2 <= denominator).all())
