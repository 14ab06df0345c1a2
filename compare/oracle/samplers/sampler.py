"""What a sampler is: the contract of every other file in this folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from compare.oracle.setting import Setting
from compare.oracle.step import Level

Changes = dict[str, Any]  # of a `Setting`
Term = Callable[[Level], Tensor]


class Formulas(Protocol):
    """The seams of the oracle that a sampler calls, any of which may hold a mistake."""

    @property
    def x_0(self) -> Callable[[str, Tensor, Tensor, Level], Tensor]: ...
    @property
    def limit(self) -> Callable[[Tensor, Setting], Tensor]: ...
    @property
    def mean(self) -> Callable[[Tensor, Tensor, Level], Tensor]: ...
    @property
    def std(self) -> Callable[..., Tensor]: ...
    @property
    def ddim_eps(self) -> Callable[[Tensor, Tensor, Tensor, Level, Setting], Tensor]: ...
    @property
    def ddim_mean(self) -> Callable[[Tensor, Tensor, Level, Tensor], Tensor]: ...
    @property
    def rederived(self) -> Callable[[Tensor, Tensor, Level], Tensor] | None: ...
    @property
    def extrapolated(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]: ...
    @property
    def solver_mean(self) -> Callable[[Tensor, Tensor, Level], Tensor]: ...


@dataclass(frozen=True)
class Inputs:
    """What a reverse step is given.

    Attributes:
        out, x_t: (..., b, pixels) model output and sample.
        level: where in the chain it stands.
        setting: what it is asked to be.
        given: a candidate's own (clipped) x0-hat in place of ours, of this answer alone.
        memory: what the step before kept; None before the first.
    """

    out: Tensor
    x_t: Tensor
    level: Level
    setting: Setting
    given: Tensor | None = None
    memory: Any = None


class Sampler(ABC):
    """One kind of reverse step. It owns its formula, its noise, its rounding, and what is to be
    looked at in it: nobody else asks which sampler a setting has.

    A step may carry a memory, such as the x0-hat of the step before: `mean` is given what `keep`
    made of that, and `Level.before` says where in the chain it stood. A candidate that is asked
    for one step comes to it by steps on zeros (`Scheduler.alone`): then `keep` is given those.

    Attributes:
        name: the `sampler` of a `Setting`.
        backend: the class of both backends that stands beside a candidate; none if they have none.
        own: options that its `step` takes by name, each a field of `Setting`; by the first a
            candidate's sampler is known.
        source: where the size of its noise stands, in its paper.
        learns: its variance may be the model's, so that one that names none is asked for it.
        remembers: its steps carry a memory; a candidate whose steps do is read as one of these.
        clip_shows: where in a step a clip is looked for that the candidate does not name: x0-hat as
            `shown`, the `reach` of the mean, the same where the noise is derived `again`, the
            `kink` of the mean, a `flat` x_{t-1}; in this order.
        right: {stage: its right formula and the source}, where that of the stage is not its own.
    """

    name: str
    backend: str | None = None
    own: tuple[str, ...] = ()
    source: str | None = None
    learns: bool = False
    remembers: bool = False
    clip_shows: tuple[str, ...] = ("reach", "shown")
    right: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def words(self, setting: Setting) -> str:
        """Its kind of noise, for the card of conventions."""

    @abstractmethod
    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        """The standard deviation of a step, while a previous step exists."""

    @abstractmethod
    def mean(self, f: Formulas, at: Inputs) -> Tensor:
        """x_{t-1} before noise."""

    @abstractmethod
    def terms(self, f: Formulas, at: Inputs, x_0: Term) -> tuple[Term, ...]:
        """The terms of the mean, each rounded by itself: of x0-hat, of x_t, of what was kept."""

    @abstractmethod
    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        """How far errors of x0-hat (None: it is given) and of the noise move the mean."""

    @abstractmethod
    def sizes(self, base: Setting) -> dict[str, Changes]:
        """The kinds of noise to look at, by name, that of the base setting first, at least one."""

    def keep(self, f: Formulas, at: Inputs) -> Any:
        """What the next step is told of this one; None if steps know nothing of each other."""
        return None

    def roughness(self, level: Level) -> Tensor | float:
        """Roundings of a term's weight beyond one, in float32 units of its size; in its bound."""
        return 0.0

    def cancelling(self, f: Formulas, at: Inputs, x_0: Tensor) -> tuple[Term, ...]:
        """Terms of the noise that it derives, of which little is left."""
        return ()

    def loud(self, base: Setting) -> Changes:
        """What to change so that a step draws; nothing if it draws already, or never."""
        return {}

    def noise_in_mean(self, setting: Setting) -> float:
        """What multiplies sigma where the mean depends on the noise's size; 0 if it does not."""
        return 0.0

    def means(self, kinds: list[str]) -> dict[str, Changes]:
        """Other means to look at than those of the prediction types `kinds`."""
        return {}

    def limited(self) -> dict[str, Changes]:
        """Other ways in which x0-hat is limited on the way to x_{t-1}."""
        return {}

    def walked(self) -> dict[str, Changes]:
        """Other chains to walk."""
        return {}

    def readings(self, setting: Setting) -> list[Setting]:
        """How else a candidate that names no variance may be read."""
        return []

    def noisy(self, setting: Setting) -> list[Setting]:
        """Its kinds of noise of one size each; none if the size is free."""
        return []

    def roots(self, setting: Setting, named: bool) -> tuple[tuple[float, str], ...]:
        """What its sigma may be: a number times the root of which fixed variance, the likeliest
        first; `named`: the candidate was asked for its kind of variance."""
        return ()

    def louder(self, setting: Setting, share: float) -> Setting | None:
        """The setting whose noise is this share of the largest; None if its size is not free."""
        return None
