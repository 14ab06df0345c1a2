"""Which derived tables a candidate shows, by what people call them: of an adapter, or attributes.

Whatever the words, alpha-bar is `P` in them, alpha `A` and beta `B`; what is left says which table.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compare.candidate.door.names import plain
from compare.candidate.door.signature import asked_for, attribute
from compare.candidate.load import Broken, raised

if TYPE_CHECKING:
    from compare.candidate.scheduler import Scheduler

LETTERS = (
    (
        "(?:alphas?(?:cum(?:ulative)?)?prod(?:uct)?s?|alphas?cum(?:ulative)?|alphas?t?bars?"
        "|baralphas?|alphas?hats?|ahats?|abars?|ab)(?!qrt)t?",
        "P",
    ),
    ("alphas?(?!qrt)t?", "A"),
    ("betas?(?!qrt)t?(?!ilde)", "B"),
)
KIND = re.compile("(list|table|array|tensor|values|buffer)s?$")  # `betaList` is beta
CALLED = {
    "alphas_cumprod": "P",
    "betas": "B bt",
    "alphas": "A at",
    "alphas_cumprod_prev": "Pprev Pprevious Pp prevP",
    "alphas_cumprod_next": "Pnext",
    "one_minus_alphas_cumprod": "oneminusP 1minusP 1mP",
    "sqrt_alphas": "sqrtA Asqrt sqrta",
    "sqrt_betas": "sqrtB Bsqrt",
    "sqrt_alphas_cumprod": "sqrtP Psqrt rootP signalrate signalrates",
    "sqrt_one_minus_alphas_cumprod": """sqrtoneminusP oneminusPsqrt sqrt1minusP 1minusPsqrt sqrt1mP
        sqrtmP noiserate noiserates""",
    "log_one_minus_alphas_cumprod": "logoneminusP oneminusPlog log1minusP",
    "sqrt_recip_alphas": "sqrtrecipA recipsqrtA oneoversqrtA oneoversqrta invsqrtA rsqrtA",
    "noise_coef": "noisecoef noisecoeff mPoversqrtmP mPoversqrtmPinv",
    "sqrt_recip_alphas_cumprod": "sqrtrecipP recipsqrtP oneoversqrtP invsqrtP rsqrtP",
    "sqrt_recipm1_alphas_cumprod": "sqrtrecipm1P sqrtrecipminusoneP sqrtrecipminus1P",
    "posterior_variance": "posteriorvariance posteriorvariances posteriorvar Btilde tildeB",
    "posterior_log_variance_clipped": """posteriorlogvarianceclipped posteriorlogvarclipped
        posteriorlogvariance posteriorlogvar""",
    "posterior_mean_coef1": "posteriormeancoef1 posteriormeancoeff1 posteriormeanc1",
    "posterior_mean_coef2": "posteriormeancoef2 posteriormeancoeff2 posteriormeanc2",
}
MEANT = {word: name for name, words in CALLED.items() for word in words.split()}
SCHEDULERS = re.compile("schedule|diffusion|process")  # what holds one is called
FOREIGN = ("builtins", "torch", "numpy", "collections", "types", "functools")
NUMBERS = Tensor | np.ndarray | list | tuple
ONE_TABLE = 1e-5  # far above what float32 makes of two squares whose sum is 1
SCHEDULE = ("alphas_cumprod", "betas")  # attributes that the stage `schedule` judges


@lru_cache(maxsize=4096)
def meant(name: str) -> str | None:
    """Which table of the oracle is called so; None if nobody knows.

    >>> [meant(name) for name in ("alphas_cumprod_prev", "ab_prev", "alpha_hat", "alphas_bar_sqrt")]
    ['alphas_cumprod_prev', 'alphas_cumprod_prev', 'alphas_cumprod', 'sqrt_alphas_cumprod']
    >>> meant("oneover_sqrta"), meant("beta_tilde"), meant("loss_weight"), meant("P")
    ('sqrt_recip_alphas', 'posterior_variance', None, None)
    >>> meant("signal_rates"), meant("noise_rates"), meant("alphaBarList")
    ('sqrt_alphas_cumprod', 'sqrt_one_minus_alphas_cumprod', 'alphas_cumprod')
    """
    word = KIND.sub("", plain(name))
    for written, letter in LETTERS:
        word = re.sub(written, letter, word)
    return MEANT.get(word)


@dataclass(frozen=True)
class Shown:
    """The tables that a candidate shows.

    Attributes:
        known: {its name: the oracle's}.
        values: {its name: a tensor, float64, or why there is none}.
        unknown: names of which nobody knows what they should hold.
    """

    known: Mapping[str, str]
    values: Mapping[str, Tensor | Broken]
    unknown: tuple[str, ...] = ()

    def of(self, name: str) -> Tensor | None:
        """The first that can be read of those that are this table of the oracle."""
        found = [self.values[own] for own, known in self.known.items() if known == name]
        return next((values for values in found if isinstance(values, Tensor)), None)


def of_steps(table: Tensor | None, T: int) -> Tensor | None:
    """(T,) of a table of T entries, or of T + 1 whose first is of no step; None of another."""
    if table is None or table.numel() not in (T, T + 1):
        return None
    return table.flatten()[-T:]


def _finite(table: Tensor | None) -> Tensor | None:
    """The table, None if an entry is not finite."""
    return None if table is None or not bool(table.isfinite().all()) else table


@dataclass(frozen=True)
class Own:
    """The schedule by which tables are judged: (T,) alpha-bar and beta, None where none is shown.

    `beside`: alpha-bar is shown beside what is made of it.
    """

    alpha_bar: Tensor | None
    beta: Tensor | None
    beside: bool


def own_schedule(scheduler: "Scheduler") -> Own:
    """Alpha-bar and beta of a candidate, from its tables, else as its scheduler shows them."""
    subject = scheduler.subject

    def ask() -> Own:
        T, found = scheduler.setting.num_train_timesteps, shown(scheduler)
        beta = _finite(of_steps(found.of("betas"), T))
        beta = _finite(of_steps(scheduler.betas(), T)) if beta is None else beta
        alpha_bar = _finite(of_steps(found.of("alphas_cumprod"), T))
        shows = subject.adapter is None and scheduler.raw_table() is not None
        beside = shows or alpha_bar is not None
        alpha_bar = of_steps(scheduler.table(), T) if alpha_bar is None else alpha_bar
        if alpha_bar is None and beta is not None:
            alpha_bar = (1 - beta).cumprod(0)
        return Own(alpha_bar, beta, beside)

    own: Own = subject.remember((scheduler.key, "own schedule"), ask)
    return own


def shown(scheduler: "Scheduler") -> Shown:
    """The tables of an adapter, else what a built object has under names that are known.

    Raises:
        Broken: an adapter's `tables` raises, or returns something else than {name: table}.
    """
    subject = scheduler.subject

    def ask() -> Shown:
        of_adapter = subject.adapter is not None
        found = _given(scheduler.thing) if of_adapter else _attributes(scheduler)
        known = {name: meant(name) for name in found if not _is_pair(found[name])}
        values = {name: _values(name, found[name]) for name, table in known.items() if table}
        unknown = tuple(name for name, table in known.items() if table is None)
        return Shown({name: table for name, table in known.items() if table}, values, unknown)

    answer: Shown = subject.remember((scheduler.key, "tables"), ask)
    return answer


def _is_pair(value: Any) -> bool:
    """True for two numbers, such as both ends of betas, which are no table."""
    return isinstance(value, list | tuple) and len(value) == 2


def asked(role: Any) -> Any:
    """What an adapter's `tables` returns, or what it raises."""
    try:
        found = role()
        return {**found} if isinstance(found, torch.nn.ParameterDict) else found
    except Exception as error:
        return error


def schedule(found: Any) -> tuple[Any, Any]:
    """The tables of alpha-bar and of betas among those that `tables` returned; None for none.

    Where neither is there, alpha-bar is that of its root and the root of the rest; of its root
    alone, if the two are not of one alpha-bar.
    """
    known: dict[str | None, Any] = {}
    for name, value in found.items() if isinstance(found, Mapping) else ():
        known.setdefault(meant(str(name)), value)
    alpha_bar, betas = known.get("alphas_cumprod"), known.get("betas")
    roots = [known.get("sqrt_alphas_cumprod"), known.get("sqrt_one_minus_alphas_cumprod")]
    if alpha_bar is None and betas is None and all(_is_table(root) for root in roots):
        signal, rest = (torch.as_tensor(root).to(torch.float64) ** 2 for root in roots)
        one = torch.allclose(signal + rest, torch.ones_like(rest), atol=ONE_TABLE)
        sharp = one & (rest < 0.5)
        alpha_bar = torch.where(sharp, 1 - rest, signal)  # each where it is sharp
    return alpha_bar, betas


def _given(thing: Any) -> dict[str, Any]:
    found = getattr(thing, "tables", {})
    if isinstance(found, Exception):
        raise Broken(f"tables() raises {raised(found)}")
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise Broken(f"tables() returned {type(found).__name__}, should return {{name: table}}")
    return dict(found)


def of_schedule(thing: Any, name: str, deep: int = 2) -> Any:
    """What an object has under Diffusers' name of alpha-bar or of the betas, else its table under
    another name that says the same, which may be that of a method, else that of what it keeps, so
    many objects deep; None if there is none."""
    usual = attribute(thing, name)
    ends = isinstance(usual, tuple | list) and len(usual) == 2
    if usual is not None and not ends:
        return usual
    for other in public(thing):
        if meant(other) == name:
            value = attribute(thing, other)
            if inspect.ismethod(value) and not asked_for(value):
                with suppress(Exception):
                    value = value()
            if _is_table(value):
                every = (attribute(thing, each) for each in public(thing) if meant(each))
                return value if name == "betas" else product_of(value, every)
    found = [of_schedule(part, name, deep - 1) for part in kept_by(thing)] if deep else []
    kept = [value for value in found if value is not None]
    return kept[0] if len(kept) == 1 else None


def product_of(table: Any, others: Iterable[Any]) -> Any:
    """A table that is called alpha-bar, or the one of the others that is its product: then its own
    name is that of alpha."""
    alpha = torch.as_tensor(table).to("cpu", torch.float64).flatten()
    product = alpha.cumprod(0)
    for other in others:
        if _is_table(other) and len(other) == len(product):
            found = torch.as_tensor(other).to("cpu", torch.float64).flatten()
            if torch.allclose(found, product, rtol=1e-4) and not torch.allclose(found, alpha):
                return other
    return table


def kept_by(thing: Any) -> list[Any]:
    """What an object keeps that may hold a schedule: is called so, is a mapping, or is no network
    and of a class of its own."""
    found = []
    for name, value in getattr(thing, "__dict__", {}).items():
        package = type(value).__module__.partition(".")[0]
        known = package not in FOREIGN or isinstance(value, SimpleNamespace)
        own = known and not isinstance(value, torch.nn.Module)
        if isinstance(value, Mapping):
            found.append(SimpleNamespace(**{str(key): each for key, each in value.items()}))
        elif value is not thing and (own or SCHEDULERS.search(plain(name))):
            found.append(value)
    return found


def _is_table(value: Any) -> bool:
    """True for more numbers than two, in a row: a pair is the ends of a schedule."""
    return (
        isinstance(value, NUMBERS)
        and len(value) > 2
        and torch.as_tensor(value).numel() == len(value)
    )


def has_attributes(thing: Any) -> bool:
    """True if an object has a table that is derived from betas and alpha-bar, by its name."""
    return any(meant(name) not in (None, *SCHEDULE) for name in public(thing))


def public(thing: Any) -> list[str]:
    """The names of what an object shows."""
    return [name for name in dir(thing) if not name.startswith("_")]


def _attributes(scheduler: "Scheduler") -> dict[str, Any]:
    """Those as long as its chain; others of such names are something else."""
    T, found = scheduler.setting.num_train_timesteps, {}
    for name in public(scheduler.thing):
        if meant(name) and name not in SCHEDULE:
            with suppress(Exception):
                value = getattr(scheduler.thing, name)
                if isinstance(value, NUMBERS) and torch.as_tensor(value).numel() in (T, T + 1):
                    found[name] = value
    return found


def _values(name: str, value: Any) -> Tensor | Broken:
    try:
        return torch.as_tensor(value).detach().to("cpu", torch.float64)
    except Exception as error:
        return Broken(f"{name} is no table of numbers: {raised(error)}")
