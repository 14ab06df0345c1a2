"""A candidate as the checks see it: built with named keywords, called positionally, remembered.

What a candidate answers never depends on the oracle, so every answer is kept: the checks can be
asked again with another oracle (a mistake of the catalogue) without calling the candidate again.
"""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.candidate import (
    REFUSALS,
    Adapter,
    Namesakes,
    apart,
    brief,
    named_keywords,
    raised,
    takes_generator,
)
from compare.oracle import F64, Setting

CALLS = {  # how each is called, for whoever has another order
    "add_noise": "add_noise(x_0, noise, t)",
    "get_velocity": "get_velocity(x_0, noise, t)",
    "step": "step(model_output, t, x_t)",
    "set_timesteps": "set_timesteps(n)",
    "previous_timestep": "previous_timestep(t)",
}
OTHER_NAMES = {  # tried where Diffusers' word is refused
    "squaredcos_cap_v2": "cosine",
    "v_prediction": "v",
    "epsilon": "eps",
    "sample": "x_0",
}
STEP_ONLY = ("eta", "use_clipped_model_output")
NAMES = tuple(f.name for f in fields(Setting) if f.name not in STEP_ONLY)


class Broken(Exception):
    """What a candidate did instead of answering, in one line; a wrong shape is not `raised`."""

    def __init__(self, text: str, raised: bool = True):
        super().__init__(text)
        self.raised = raised


class _FromAdapter:
    """An adapter with the methods of a scheduler; a role that is not filled is not there."""

    def __init__(self, adapter: Adapter):
        if adapter.alpha_bar is not None:
            self.alphas_cumprod = adapter.alpha_bar()
        if adapter.add_noise is not None:
            self.add_noise = adapter.add_noise
        if adapter.step is not None:
            run = adapter.step

            def step(model_output: Any, timestep: Any, sample: Any, generator: Any = None) -> Any:
                return run(model_output, int(timestep), sample, generator)

            def step_of_globals(model_output: Any, timestep: Any, sample: Any) -> Any:
                return run(model_output, int(timestep), sample)

            self.step = step if takes_generator(run, 3) else step_of_globals


class Subject:
    """One candidate: what it offers, the conventions read off it, and all its answers.

    Args:
        candidate: a class, a factory, an object with `step`, or an `Adapter`.
        name: shown in the report.
        level: `"quick"` or `"full"`.
        seed: of the probes.
        own: the candidate's own modules of our names.
        base: the setting that it is asked to be, where it names the keywords.
    """

    def __init__(
        self,
        candidate: Any,
        name: str,
        level: str = "quick",
        seed: int = 0,
        own: Namesakes | None = None,
        base: Setting | None = None,
    ):
        self.name, self.level, self.seed = name, level, seed
        self.own = own or Namesakes(None, {})
        self.adapter: Adapter | None = None
        self.answers: dict[Any, Any] = {}
        self.not_offered: list[str] = []
        self.words: dict[str, str] = {}  # {Diffusers' word for a value: the candidate's}
        self.conventions: dict[str, str] = {}
        self.t_base = 0
        self.steps_pass = True  # whole chains are judged only where every single step passes
        self.strict: frozenset[str] | None = None
        self.global_state = True
        self.overwritten: set[str] = set()  # arguments that a method changed in place
        self._factory = self._door(candidate)
        self.named = set(named_keywords(self._factory)) & set(NAMES)
        self.setting = base or Setting()
        self._find_base()

    def _door(self, candidate: Any) -> Callable[..., Any]:
        if isinstance(candidate, Adapter):
            self.adapter = candidate.with_generators()
            return lambda: _FromAdapter(candidate)
        if not callable(candidate):
            return lambda: candidate
        return candidate

    def _find_base(self) -> None:
        """Builds it once, without the keywords whose plain values it refuses."""
        for name in sorted(self.named):
            try:
                self._make({name: getattr(self.setting, name)})
            except REFUSALS as error:
                self.named.discard(name)
                self.not_offered.append(f"{name}={getattr(self.setting, name)!r} ({brief(error)})")
        try:
            thing = self._make(self._keywords(self.setting))
        except Exception as error:
            raise Broken(f"cannot be built: {brief(error)}") from None
        if isinstance(thing, Adapter):
            self.adapter = thing.with_generators()
        self.first = self._wrap(thing)
        self.step_named = named_keywords(getattr(self.first, "step", None))
        self.set_named = named_keywords(getattr(self.first, "set_timesteps", None))
        if self.adapter is not None:
            self.setting = replace(self.setting, prediction_type=self.adapter.prediction_type)
        if "eta" in self.step_named:
            self.setting = replace(self.setting, eta=0.0)

    def _make(self, keywords: dict[str, Any]) -> Any:
        """A new one; a value that it refuses is tried under its other name."""
        try:
            return self._called(keywords, self.words)
        except REFUSALS:
            for value in keywords.values():
                if isinstance(value, str) and value in OTHER_NAMES and value not in self.words:
                    words = {**self.words, value: OTHER_NAMES[value]}
                    with contextlib.suppress(*REFUSALS):
                        made = self._called(keywords, words)
                        self.words = words
                        return made
            raise

    def _called(self, keywords: dict[str, Any], words: dict[str, str]) -> Any:
        given = {name: value for name, value in keywords.items() if value is not None}
        given = {k: words.get(v, v) if isinstance(v, str) else v for k, v in given.items()}
        try:
            with apart(self.own):
                return self._factory(**given)
        except SystemExit as error:
            raise Broken(brief(error)) from None

    def _wrap(self, thing: Any) -> Any:
        return _FromAdapter(thing) if isinstance(thing, Adapter) else thing

    def _keywords(self, setting: Setting) -> dict[str, Any]:
        chosen = {name: getattr(setting, name) for name in NAMES if name in self.named}
        if chosen.get("trained_betas") is not None:
            chosen["trained_betas"] = list(chosen["trained_betas"])
        return chosen

    def has(self, method: str) -> bool:
        """True if the built candidate has this method or table."""
        return getattr(self.first, method, None) is not None

    def offers(self, **changes: Any) -> Setting | None:
        """The base setting with some values changed, or None if the candidate does not offer it.

        A value that it does not name is offered only where it is what the candidate does anyway.
        """
        setting = replace(self.setting, **changes)
        for name, value in changes.items():
            named = name in (self.step_named if name in STEP_ONLY else self.named)
            if not named and value != getattr(self.setting, name):
                return None
        return setting if self.build(setting) is not None else None

    def build(self, setting: Setting) -> "Built | None":
        """A scheduler of this setting, or None if the candidate refuses it."""
        keywords = self._keywords(setting)
        unnamed = (setting.num_train_timesteps, setting.eta, setting.use_clipped_model_output)
        key = ("build", repr((sorted(keywords.items()), unnamed)))
        if key not in self.answers:
            try:
                self.answers[key] = Built(self, self._wrap(self._make(keywords)), setting, key[1])
            except REFUSALS as error:
                base = self._keywords(self.setting)
                changed = {k: v for k, v in keywords.items() if v != base[k]}
                said = ", ".join(f"{k}={v!r}"[:60] for k, v in changed.items())
                self.not_offered.append(f"{said} ({brief(error)})"[:200])
                self.answers[key] = None
            except Exception as error:
                raise Broken(f"cannot be built: {brief(error)}") from None
        return self.answers[key]

    def fresh(self, setting: Setting) -> "Built":
        """A scheduler of a setting that is offered, made anew."""
        return Built(self, self._wrap(self._make(self._keywords(setting))), setting, "fresh")

    def reading(self, **changes: Any) -> "Subject":
        """The same candidate and answers, its unnamed conventions read otherwise."""
        other = object.__new__(Subject)
        other.__dict__.update(self.__dict__)
        other.setting = replace(self.setting, **changes)
        return other

    def remember(self, key: Any, ask: Callable[[], Any]) -> Any:
        """The answer under this key, asked for once; a `Broken` answer is remembered too."""
        if key not in self.answers:
            try:
                self.answers[key] = ask()
            except Broken as broken:
                self.answers[key] = broken
        if isinstance(self.answers[key], Broken):
            raise self.answers[key]
        return self.answers[key]


@dataclass
class Answer:
    """What one step returned, in float64, and the dtype it came in."""

    prev: Tensor
    x_0: Tensor | None
    dtype: torch.dtype


@dataclass
class Built:
    """One scheduler of a candidate, made with one setting."""

    subject: Subject
    thing: Any
    setting: Setting
    key: str
    visited: list[int] = field(default_factory=list)
    _by_t: dict[int, Any] = field(default_factory=dict)
    _n: int | None = None
    _lists: dict[int, list[float]] = field(default_factory=dict)

    def _call(self, what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            with apart(self.subject.own):
                return function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            refused = isinstance(error, REFUSALS)
            broken = Broken(f"{CALLS.get(what, what)} raises {raised(error)}")
            broken.refused = refused  # type: ignore[attr-defined]
            raise broken from None

    def raw_table(self) -> Tensor | None:
        """`alphas_cumprod` as float64, whatever its length, or None."""
        value = getattr(self.thing, "alphas_cumprod", None)
        return None if value is None else self._tensor("alphas_cumprod", value)

    def betas(self) -> Tensor | None:
        """`betas` as float64, or None."""
        value = getattr(self.thing, "betas", None)
        return None if value is None or callable(value) else self._tensor("betas", value)

    def _tensor(self, what: str, value: Any) -> Tensor:
        if callable(value):
            value = self._call(what, value)
        return self._call(what, lambda: torch.as_tensor(value).detach().to("cpu", F64).flatten())

    def table(self) -> Tensor | None:
        """(T,) alpha-bar_t from t = 0, from the table or from add_noise where c0^2 + c1^2 = 1."""

        def ask() -> Tensor | None:
            raw = self.raw_table()
            if raw is not None:
                return raw[self.subject.t_base :]
            if not self.subject.has("add_noise"):
                return None
            c0, c1 = self.coefficients(torch.float32)
            whole = c0**2 + c1**2
            if not bool(((whole - 1).abs() < 1e-5).all()):
                return None
            return torch.where(c1**2 < 0.5, 1 - c1**2, c0**2)

        return self.subject.remember((self.key, "table"), ask)

    def coefficients(self, dtype: torch.dtype, upto: int | None = None) -> tuple[Tensor, Tensor]:
        """What add_noise multiplies x_0 and the noise by, for t = 0, 1, ..., each (T,) float64."""

        def ask() -> tuple[Tensor, Tensor]:
            t = torch.arange(upto or self.setting.num_train_timesteps)
            one = torch.ones(len(t), 1, 2, 3, dtype=dtype)
            c0 = self.add_noise(one, 0 * one, t)[:, 0, 0, 0]
            return c0, self.add_noise(0 * one, one, t)[:, 0, 0, 0]

        return self.subject.remember((self.key, "coefficients", dtype, upto), ask)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor, method: str = "add_noise") -> Tensor:
        """`add_noise` (or `get_velocity`) of images, as float64."""
        self._seed(0)
        function = getattr(self.thing, method, None)
        if function is None:
            raise Broken(f"has no method {method}(x_0, noise, t)")
        given = {"the images": x_0.clone(), "the noise": noise.clone()}
        result = self._call(method, function, *given.values(), t + self.subject.t_base)
        self._look_over(method, given)
        if not isinstance(result, Tensor):
            raise Broken(f"{method} returned {type(result).__name__}, not a tensor", raised=False)
        if result.shape != x_0.shape:
            shapes = f"{tuple(result.shape)} for images of shape {tuple(x_0.shape)}"
            raise Broken(f"{method} returned shape {shapes}", raised=False)
        return result.detach().to(F64)

    def timesteps(self, n: int) -> Tensor:
        """The list that `set_timesteps(n)` leaves, counted from 0, float64."""

        def ask() -> Tensor:
            self._n = None  # step() must set its own chain again
            return self._floats(self._listed(n))

        return self.subject.remember((self.key, "timesteps", n), ask)

    def given_timesteps(self, chosen: list[int]) -> list[float]:
        """The list that `set_timesteps(timesteps=chosen)` leaves."""
        self._n = None
        self._call("set_timesteps", self.thing.set_timesteps, timesteps=chosen)
        return self._floats(self.thing.timesteps).tolist()

    def previous(self, n: int) -> list[int]:
        """What `previous_timestep` says of every step of the chain of n, from the top."""
        self._visit(n)
        ask, base = self.thing.previous_timestep, self.subject.t_base
        elements = [self._by_t[t] for t in self.visited]
        return [int(self._call("previous_timestep", ask, e)) - base for e in elements]

    def visit(self, n: int | None) -> list[int]:
        """Sets the chain of n steps (None: all) and returns its steps that exist, from the top."""
        self._visit(n or self.setting.num_train_timesteps)
        return self.visited

    @property
    def length(self) -> int:
        """n of the chain that is set."""
        return self._n or self.setting.num_train_timesteps

    def _listed(self, n: int) -> Any:
        if self.subject.has("set_timesteps"):
            self._call("set_timesteps", self.thing.set_timesteps, n)
            listed = getattr(self.thing, "timesteps", None)
            if listed is None:
                raise Broken("set_timesteps leaves no `timesteps`", raised=False)
            found = self._floats(listed).tolist()
            if self._lists.setdefault(n, found) != found:
                text = f"set_timesteps({n}) leaves another list when it is called again"
                raise Broken(text, raised=False)
            return listed
        if n == self.setting.num_train_timesteps:
            return [t + self.subject.t_base for t in reversed(range(n))]
        raise Broken("has no method set_timesteps(n)")

    def _floats(self, listed: Any) -> Tensor:
        if not isinstance(listed, Tensor):
            listed = torch.tensor([float(t) for t in listed], dtype=F64)
        return listed.detach().to("cpu", F64) - self.subject.t_base

    def _visit(self, n: int) -> None:
        if n == self._n:
            return
        T, base = self.setting.num_train_timesteps, self.subject.t_base
        elements = list(self._listed(n))
        inside = [e for e in elements if 0 <= float(e) - base < T]
        self._n = n
        self.visited = [int(e) - base for e in inside]
        self._by_t = dict(zip(self.visited, inside, strict=True))

    def step(self, out: Tensor, t: int, x_t: Tensor, seed: int, generator: Any = None) -> Answer:
        """One reverse step from `t`, every source of randomness set to `seed`."""
        self._seed(seed)
        kwargs: dict[str, Any] = {}
        named = self.subject.step_named
        if "generator" in named:
            kwargs["generator"] = generator or torch.Generator().manual_seed(seed)
        if "eta" in named:
            kwargs["eta"] = self.setting.eta
        if "use_clipped_model_output" in named:
            kwargs["use_clipped_model_output"] = self.setting.use_clipped_model_output
        element = self._by_t.get(t, t + self.subject.t_base)
        function = getattr(self.thing, "step", None)
        if function is None:
            raise Broken("has no method step(model_output, t, x_t)")
        given = {"the model output": out.clone(), "x_t": x_t.clone()}
        result = self._call("step", function, given["the model output"], element, given["x_t"],
                            **kwargs)  # fmt: skip
        self._look_over("step", given)
        prev, x_0 = _parts(result)
        if not isinstance(prev, Tensor):
            raise Broken(f"step returned {type(result).__name__}, not a tensor", raised=False)
        if prev.shape != x_t.shape:
            shapes = f"{tuple(prev.shape)} for a sample of shape {tuple(x_t.shape)}"
            raise Broken(f"step returned shape {shapes}", raised=False)
        if not isinstance(x_0, Tensor) or x_0.shape != x_t.shape:
            x_0 = None
        return Answer(
            prev.detach().to(F64), None if x_0 is None else x_0.detach().to(F64), prev.dtype
        )

    def _look_over(self, method: str, given: dict[str, Tensor]) -> None:
        """Writes down which of the clones given to a method were changed in place."""
        changed = {f"{method} changes {name}" for name, v in given.items() if v._version}
        self.subject.overwritten |= changed

    def _seed(self, seed: int) -> None:
        if self.subject.global_state:
            seed_everything(seed)


def seed_everything(seed: int) -> None:
    """Sets every source of random numbers that a candidate may draw from."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (a candidate may draw from it)
    random.seed(seed)


def _parts(result: Any) -> tuple[Any, Any]:
    if isinstance(result, dict):
        return result.get("prev_sample"), result.get("pred_original_sample")
    if hasattr(result, "prev_sample"):
        return result.prev_sample, getattr(result, "pred_original_sample", None)
    if isinstance(result, tuple):
        return (result[0] if result else None), None
    return result, None
