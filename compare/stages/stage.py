"""What a stage is: the contract of every file in this folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compare.candidate.door.signature import asked_for
from compare.candidate.load import ROLES
from compare.candidate.subject import Subject
from compare.measure.check import Check
from compare.oracle import Oracle
from compare.oracle.samplers import BY_NAME

WHOLE_ROLES = {"sample": "a model and a number of pictures", "loss": "a model and pictures"}
ROLE_OF = {"alphas_cumprod": "alpha_bar"}  # {a need: the role that fills it}
Checks = Callable[[Subject, Oracle], Iterator[Check]]


@dataclass(frozen=True)
class Stage:
    """One part of a DDPM that is judged by itself.

    `checks(subject, oracle)` yields what is looked at, one check after another, so that whoever
    reads may stop: the report reads to the end, who tries a mistake on stops at the first check
    that does not hold. A stage owes its readers:

    - it asks the subject only, whose answers are kept: what a check says does not depend on which
      checks were read before it, nor does a second reading call the candidate again;
    - it judges against the oracle that it is given, never absolutely: read with the oracle of a
      mistake, it holds for a candidate with that mistake, or nothing would be named (but where it
      is judged `by_itself`: then a check that fails says its mistake);
    - it judges given the candidate's own earlier stages, and lets `Check.whole` say what follows;
    - what cannot be computed is yielded as `error` or `differs`, and the checks after it still come
      (`guarded`): an exception would end the generator for good;
    - no context (no_grad, fork_rng, catch_warnings) is open across a `yield`;
    - it does not ask whether the oracle is the right one, unless it says why.

    Attributes:
        name: the first word of its checks' ids.
        looks_at: what it judges, in a line.
        right: the right formula and its source, said where no mistake of the catalogue fits.
        page: of the book.
        checks: yields its checks.
        needs: the methods or roles without one of which there is nothing to judge.
        on_steps: it follows from single steps, so it is judged only where all stages before pass.
        sees: the formulas of an oracle that it asks, all if there are none: its checks of a
            candidate that shows its table are the same with two oracles that have the same of them.
        by_itself: it asks no oracle: a check that fails names its mistake itself (`Check.bug`).
    """

    name: str
    looks_at: str
    right: str
    page: str
    checks: Checks
    needs: tuple[str, ...]
    on_steps: bool = False
    sees: tuple[str, ...] = ()
    by_itself: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of an `Adapter` that give it something to judge."""
        names = (ROLE_OF.get(name, name) for name in self.needs)
        return tuple(name for name in names if name in ROLES)

    def of(self, subject: Subject, oracle: Oracle) -> Iterator[Check]:
        """The checks of a subject that has what the stage needs, else none."""
        if self.is_met(subject):
            yield from self.checks(subject, oracle)

    def is_met(self, subject: Subject) -> bool:
        """True if the subject has what the stage needs."""
        return any(map(subject.has, self.needs))

    def right_of(self, subject: Subject) -> str:
        """The right formula of the candidate's sampler."""
        return BY_NAME[subject.setting.sampler].right.get(self.name, self.right)

    def lacking(self, subject: Subject) -> str:
        """Why it is not judged where its need is not met."""
        if subject.is_network:
            return "it is a network alone"
        for name, roles in WHOLE_ROLES.items():
            method = getattr(subject.first, name, None)
            if name in self.needs and callable(method):
                asked = f"{name}({', '.join(asked_for(method))})"
                return f"its {asked} does not ask by name for {roles} alone: an Adapter calls it"
        verb = "are" if self.needs == ("tables",) else "is"
        return f"there {verb} no {' or '.join(self.needs)}"
