"""What a sampler is: the contract of every other file in this folder."""

from collections.abc import Callable
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


class Sampler(Protocol):
    """One kind of reverse step. It owns its formula, its noise, its rounding, and what is to be
    looked at in it: nobody else asks which sampler a setting has.

    A step may carry a memory, such as the x0-hat of the step before: `mean` is given what `keep`
    made of the last step (None before the first), so a sampler of several steps fits too.
    """

    @property
    def name(self) -> str:
        """The `sampler` of a `Setting`; in capitals, the name of Diffusers' class."""

    @property
    def own(self) -> tuple[str, ...]:
        """Options that its `step` takes by name; by the first a candidate's sampler is known."""

    @property
    def clip_shows(self) -> tuple[str, ...]:
        """In what of a step a clip is looked for that the candidate does not name, in this order:
        x0-hat as `shown`, the `reach` of the mean, the same where the noise is derived `again`, the
        `kink` of the mean, a `flat` x_{t-1}."""

    def readings(self, setting: Setting) -> list[Setting]:
        """How else a candidate that names no variance may be read."""

    def words(self, setting: Setting) -> str:
        """Its kind of noise, for the card of conventions."""

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        """The standard deviation of a step, while a previous step exists."""

    def mean(
        self,
        f: Formulas,
        out: Tensor,
        x_t: Tensor,
        level: Level,
        setting: Setting,
        given: Tensor | None = None,
        memory: Any = None,
    ) -> Tensor:
        """x_{t-1} before noise; `given` is a candidate's own (clipped) x0-hat in place of ours."""

    def keep(self, f: Formulas, out: Tensor, x_t: Tensor, level: Level, setting: Setting) -> Any:
        """What the next step is told of this one; None if steps know nothing of each other."""

    def terms(
        self, f: Formulas, out: Tensor, x_t: Tensor, x_0: Term, setting: Setting
    ) -> tuple[Term, ...]:
        """The terms of the mean, each rounded by itself: that of x0-hat, then that of x_t."""

    def roughness(self, level: Level) -> Tensor | float:
        """How much more than once the weight of a term may be rounded, relative to its size."""

    def cancelling(
        self, f: Formulas, x_t: Tensor, x_0: Tensor, setting: Setting
    ) -> tuple[Term, ...]:
        """Terms of the noise that it derives, of which little is left."""

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        """How far errors of x0-hat (None: it is given) and of the noise move the mean."""

    def sizes(self, base: Setting) -> dict[str, Changes]:
        """The kinds of noise to look at, by name, that of the base setting first."""

    def loud(self, base: Setting) -> Changes:
        """What to change so that a step draws."""

    def means(self, kinds: list[str]) -> dict[str, Changes]:
        """Other means to look at than those of the prediction types `kinds`."""

    def limited(self) -> dict[str, Changes]:
        """Other ways in which x0-hat is limited on the way to x_{t-1}."""

    def walked(self) -> dict[str, Changes]:
        """Other chains to walk."""

    def louder(self, setting: Setting, share: float) -> Setting | None:
        """The setting whose noise is this share of the largest; None if its size is not free."""
