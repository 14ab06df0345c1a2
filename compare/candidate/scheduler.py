"""One scheduler of a candidate: called through its door, its answers as float64, remembered."""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compare.candidate.door import handing
from compare.candidate.door.count import own_list
from compare.candidate.door.find import may_be_none
from compare.candidate.door.names import GENERATORS
from compare.candidate.door.reading import CONTRACT, LISTED, NOT_LAST, NUMBER, PLAIN, Reading
from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.replay import Recorded
from compare.candidate.spy import per_image
from compare.candidate.surroundings import apart
from compare.oracle import F64, Oracle, Setting
from compare.oracle.samplers import BY_NAME, Sampler

if TYPE_CHECKING:
    from compare.candidate.subject import Subject


KEPT = 16  # copies on the way through a list, of those last asked for
NOTHING = 1e-12  # alpha-bar, of which no image is read
CALLS = {  # how others than those of the door are called
    "set_timesteps": "set_timesteps(n)",
    "previous_timestep": "previous_timestep(t)",
}
CLONED = {"out": "the model output", "x": "x_t", "x_0": "the images", "noise": "the noise"}


@dataclass(frozen=True)
class Answer:
    """What one step returned, in float64."""

    prev: Tensor
    x_0: Tensor | None


@dataclass
class Chain:
    """The list that a scheduler was last told to visit, and every list that it left before."""

    n: int | None = None
    visited: list[int] = field(default_factory=list)
    by_t: dict[int, Any] = field(default_factory=dict)
    lists: dict[int, Tensor] = field(default_factory=dict)
    known: dict[int, list[int]] = field(default_factory=dict)  # {n: what was visited of it}
    come: "list[Come]" = field(default_factory=list)


@dataclass(frozen=True)
class Come:
    """A copy of a scheduler that has come to place `at` of a list by steps on zeros of a shape."""

    n: int | None
    shape: torch.Size
    at: int
    thing: Any


@dataclass(frozen=True)
class Scheduler:
    """One scheduler of a candidate, made with one setting.

    Readings of a candidate that ask it for the same share `thing`, `chain` and, by `key`, answers.
    """

    subject: "Subject"
    thing: Any
    setting: Setting
    key: str
    chain: Chain

    @property
    def sampler(self) -> Sampler:
        """Whose step it is."""
        return BY_NAME[self.setting.sampler]

    @property
    def door(self) -> Reading:
        """How the candidate is called."""
        return self.subject.door

    def _call(self, what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            with apart(self.subject.own):
                return function(*args, **kwargs)
        except Exception as error:
            called = self.door.call(what) if what in CONTRACT else CALLS.get(what, what)
            raise Broken(f"{called} raises {raised(error)}") from None

    def raw_table(self) -> Tensor | None:
        """`alphas_cumprod`, or what it calls so, as float64, whatever its length, or None; without
        the 1 behind the last step that entry -1 may be."""
        value = self.subject.shows(self.thing, "alphas_cumprod")
        if value is None:
            return None
        raw = self._tensor("alphas_cumprod", value)
        ends_with_one = len(raw) > 2 and float(raw[-1]) == 1 and bool((raw[:-1].diff() < 0).all())
        return raw[:-1] if ends_with_one and float(raw[0]) < 1 else raw

    def betas(self) -> Tensor | None:
        """`betas`, or what it calls so, as float64, or None."""
        value = self.subject.shows(self.thing, "betas")
        return None if value is None or callable(value) else self._tensor("betas", value)

    def _tensor(self, what: str, value: Any) -> Tensor:
        if callable(value):
            value = self._call(what, value)
        return self._call(what, lambda: torch.as_tensor(value).detach().to("cpu", F64).flatten())

    def table(self) -> Tensor | None:
        """(T,) alpha-bar_t from t = 0: the table, else by add_noise where c0^2 + c1^2 = 1, else the
        product of 1 - betas, else that which a loss was seen to have."""

        def ask() -> Tensor | None:
            raw = self.raw_table()
            if raw is not None:
                return self._of_steps(raw)
            if self.subject.has("add_noise"):
                c0, c1 = self.coefficients(torch.float32)
                if bool(((c0**2 + c1**2 - 1).abs() < 1e-5).all()):
                    return torch.where(c1**2 < 0.5, 1 - c1**2, c0**2)
            betas = self.betas()
            return None if betas is None else self._of_steps((1 - betas).cumprod(0))

        found = self.subject.remember((self.key, "table"), ask)
        return self.subject.seen_table if found is None else found

    def _of_steps(self, raw: Tensor) -> Tensor:
        """A table of T + 1 levels, the first of no step, from where t counts from."""
        T, first = self.setting.num_train_timesteps, self.subject.first_entry
        spare = len(raw) == T + 1 and (first == 1 or float(raw[0]) == 1)
        return raw[first : first + T] if spare else raw

    def alpha_bars(self, oracle: Oracle) -> Tensor:
        """(T,) the candidate's own table where it can be read, else the oracle's."""
        own = self.table()
        return oracle.alpha_bar(self.setting) if own is None else own

    def usable(self) -> bool:
        """True if its table has both signal and noise at every t; v and x_0 need no signal."""
        return self.has_noise() and not self.lacks_signal()

    def has_noise(self) -> bool:
        """True if its table, where it shows one, is below 1 at every t."""
        own = self.table()
        return own is None or bool((own.isfinite() & (own < 1)).all())

    def lacks_signal(self) -> bool:
        """True if its table is 0 at some t, where noise that a model predicts tells nothing."""
        return self.without_signal() > 0

    def without_signal(self) -> int:
        """At how many t."""
        own = self.table()
        least = NOTHING if self.setting.prediction_type == "epsilon" else -NOTHING
        return 0 if own is None else int((own <= least).sum())

    def coefficients(
        self, dtype: torch.dtype, upto: int | None = None, method: str = "add_noise"
    ) -> tuple[Tensor, Tensor]:
        """What `method` multiplies x_0 and the noise by, for t = 0, 1, ..., each (T,) float64."""

        def ask() -> tuple[Tensor, Tensor]:
            t = torch.arange(upto or self.setting.num_train_timesteps)
            one = torch.ones(len(t), 1, 2, 3, dtype=dtype)
            c0 = self.add_noise(one, 0 * one, t, method)[:, 0, 0, 0]
            return c0, self.add_noise(0 * one, one, t, method)[:, 0, 0, 0]

        return self.subject.remember((self.key, "coefficients", dtype, upto, method), ask)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor, method: str = "add_noise") -> Tensor:
        """`add_noise` (or `get_velocity`) of images, as float64, all randomness set to 0."""
        seed_everything(0)
        return self.noised(x_0, noise, t, method)

    def noised(self, x_0: Tensor, noise: Tensor, t: Tensor, method: str = "add_noise") -> Tensor:
        """The same, whatever it draws."""
        if getattr(self.thing, method, None) is None:
            raise Broken(f"has no method {method}(x_0, noise, t)")
        if "noise" in self.door.order(method).takes:
            return self._noised(method, x_0, noise, t)[0].to(F64)
        try:
            ask = partial(self._noised, method, noise=None, t=t)
            return handing.with_noise(ask, x_0, noise).to(F64)
        except ValueError as error:
            raise Broken(f"{self.door.call(method)} cannot be judged: {error}") from None

    @property
    def may_draw(self) -> bool:
        """Whether its `add_noise` takes no noise, or draws it where it is handed none."""
        function, order = self.subject.function("add_noise"), self.door.order("add_noise")
        return "noise" not in order.takes or may_be_none(function, order, "noise")

    def noise_of_its_own(self, x_0: Tensor, t: Tensor) -> Tensor:
        """The noise that an `add_noise` draws which is handed none, float64; `x_0` is 0."""
        noised, drawn = self._noised("add_noise", x_0, None, t)
        if "noise" in self.door.order("add_noise").takes:
            return noised.to(F64) / per_image(self.coefficients(torch.float32)[1][t], x_0)
        if drawn is None:
            raise Broken(f"{self.door.call('add_noise')} does not show its noise", raised=False)
        return drawn.to(F64)

    def _noised(
        self, method: str, x_0: Tensor, noise: Tensor | None, t: Tensor
    ) -> tuple[Tensor, Any]:
        """x_t of images, and the noise beside it where it is returned, or seen to be drawn."""
        if self.door.t_of_add_noise.value == NUMBER and t.numel() > 1:
            return self._one_by_one(method, x_0, noise, t)
        images = handing.shaped(self.door, x_0)
        handed = None if noise is None else handing.shaped(self.door, noise)
        at = handing.t_of_images(self.door, t + self.subject.t_base)
        with Recorded(images.numel()) as recorded:
            result = self._asked(method, {"x_0": images, "noise": handed, "t": at})
        noised, drawn = handing.noised_of(result, handed)
        if noise is None and drawn is None and len(recorded.found) == 1:
            drawn = recorded.found[0].reshape(images.shape)
        noised = self._like(method, noised, x_0, "images")
        return noised, handing.back(self.door, drawn, x_0)

    def _one_by_one(
        self, method: str, x_0: Tensor, noise: Tensor | None, t: Tensor
    ) -> tuple[Tensor, Any]:
        """The same of images one after another, for a method whose t is an int."""
        each = [
            self._noised(method, x_0[i : i + 1], None if noise is None else noise[i : i + 1], at)
            for i, at in enumerate(t.flatten())
        ]
        drawn = [part for _, part in each]
        found = None if any(part is None for part in drawn) else torch.cat(drawn)
        return torch.cat([part for part, _ in each]), found

    def _like(self, method: str, result: Any, wanted: Tensor, what: str) -> Tensor:
        """A result of the shape that was given, as images, or `Broken`."""
        if not isinstance(result, Tensor):
            raise Broken(f"{method} returned {type(result).__name__}, not a tensor", raised=False)
        images = handing.back(self.door, numbers(method, result), wanted)
        if images is None:
            given = tuple(handing.shaped(self.door, wanted).shape)
            shapes = f"{tuple(result.shape)} for {what} of shape {given}"
            raise Broken(f"{method} returned shape {shapes}", raised=False)
        return images

    def timesteps(self, n: int) -> Tensor:
        """The list that `set_timesteps(n)` leaves, counted from 0, float64."""

        def ask() -> Tensor:
            self.chain.n = None  # step() must set its own chain again
            listed = self.listed(n)
            return self.chain.lists[n] if n in self.chain.lists else self._floats(listed)

        return self.subject.remember((self.key, "timesteps", n), ask)

    def given_timesteps(self, chosen: list[int]) -> list[float]:
        """The list that `set_timesteps(timesteps=chosen)` leaves."""
        self.chain.n = None
        self._call("set_timesteps", self.thing.set_timesteps, timesteps=chosen)
        return self._floats(self.thing.timesteps).tolist()

    def previous(self, n: int) -> list[int]:
        """What `previous_timestep` says of every step of the chain of n, from the top."""
        visited = self.visit(n)
        thing, base = self.thing, self.subject.t_base

        def ask(t: int) -> int:
            return int(thing.previous_timestep(self.chain.by_t[t])) - base

        return [self._call("previous_timestep", ask, t) for t in visited]

    def visit(self, n: int | None) -> list[int]:
        """Sets the chain of n steps (None: all) and returns its steps that exist, from the top."""
        T, base, chain = self.setting.num_train_timesteps, self.subject.t_base, self.chain
        n = n or T
        if n != chain.n:
            inside = [e for e in list(self.listed(n)) if 0 <= float(e) - base < T]
            chain.n = n
            chain.visited = [int(e) - base for e in inside]
            chain.by_t = dict(zip(chain.visited, inside, strict=True))
            chain.known[n] = chain.visited
        return chain.visited

    def before(self, t: Tensor, n: int | None = None) -> Tensor:
        """(k, 1) the steps that come before others in a list that was set, -1 before its first."""
        visited = self.chain.known[n or self.setting.num_train_timesteps]
        known = dict(zip(visited, [-1, *visited], strict=False))
        return torch.tensor([[known.get(i, -1)] for i in t.flatten().tolist()])

    def near(self, wanted: list[int]) -> tuple[Tensor, Tensor]:
        """(k, 1) the steps that are wanted, and those after them; of a list of its own the first
        that come not before them."""
        t = torch.tensor(wanted).reshape(-1, 1)
        if self.door.visits.value != LISTED:
            return t, t - 1
        visited = self.visit(None)
        after = dict(zip(visited, [*visited[1:], -1], strict=True))
        found = [min((v for v in visited if v >= i), default=visited[0]) for i in wanted]
        return torch.tensor(found).reshape(-1, 1), torch.tensor([[after[v]] for v in found])

    @property
    def middle(self) -> int:
        """A step in mid-chain."""
        return int(self.near([self.setting.num_train_timesteps // 2])[0])

    @property
    def length(self) -> int:
        """n of the chain that is set."""
        return self.chain.n or self.setting.num_train_timesteps

    def listed(self, n: int) -> Any:
        """The elements of its own list of n steps, as they are; else those of all T."""
        if self.subject.has("set_timesteps"):
            self._call("set_timesteps", self.thing.set_timesteps, n)
            listed = getattr(self.thing, "timesteps", None)
            if listed is None:
                raise Broken("set_timesteps leaves no `timesteps`", raised=False)
            found = self._floats(listed)
            known = self.chain.lists.setdefault(n, found)
            if known is not found and not torch.equal(known, found):
                text = f"set_timesteps({n}) leaves another list when it is called again"
                raise Broken(text, raised=False)
            return listed
        if n == self.setting.num_train_timesteps:
            if self.door.visits.value == LISTED:
                return own_list(self.thing, n)
            return [t + self.subject.t_base for t in reversed(range(n))]
        raise Broken("has no method set_timesteps(n)")

    def _floats(self, listed: Any) -> Tensor:
        """The elements of a list, counted from 0, float64."""
        with suppress(TypeError, ValueError):
            if not isinstance(listed, Tensor):
                listed = torch.tensor([float(t) for t in listed], dtype=F64)
            if listed.dim() == 1:
                return listed.detach().to("cpu", F64) - self.subject.t_base
        raise Broken("set_timesteps leaves `timesteps` that are no numbers in a row", raised=False)

    def step(
        self,
        out: Tensor,
        t: int,
        x_t: Tensor,
        seed: int | None,
        generator: Any = None,
        said: Tensor | None = None,
    ) -> Answer:
        """One reverse step from `t`, every source of randomness set to `seed` (None: none is).

        `said` is what a model of twice the channels says of the variance, of the shape of `out`.
        """
        if seed is not None:
            seed_everything(seed)
        if getattr(self.thing, "step", None) is None:
            raise Broken("has no method step(model_output, t, x_t)")
        element = self.chain.by_t.get(t, t + self.subject.t_base)
        generator = generator or torch.Generator().manual_seed(seed or 0)
        out = self._answered(out, t)
        whole = handing.whole_output(self.door, self.setting.variance_type, out, said)
        given = {"out": handing.shaped(self.door, whole), "x": handing.shaped(self.door, x_t)}
        given["t"] = handing.t_of_step(self.door, element, len(x_t))
        if "z" in self.door.order("step").takes:
            silent = t == 0 and self.door.z.value == NOT_LAST
            z = torch.zeros_like(x_t) if silent else handing.fresh_z(x_t, generator)
            given["z"] = handing.shaped(self.door, z)
        prev, x_0 = handing.step_of(self._asked("step", given, **self._keywords(generator)))
        prev = self._like("step", prev, x_t, "a sample").to(F64)
        x_0 = handing.back(self.door, x_0, x_t)
        return Answer(prev, None if x_0 is None else x_0.to(F64))

    def _answered(self, out: Tensor, t: int) -> Tensor:
        """What a model gives that predicts `out`."""
        if self.door.answers.value == PLAIN:
            return out
        alpha_bar = self.alpha_bars(Oracle())[t].to(out)
        return out * handing.given_for(self.door.answers.value, alpha_bar)

    def _keywords(self, generator: Any) -> dict[str, Any]:
        """What `step` is told by name, as far as it names it."""
        known = dict.fromkeys(GENERATORS, generator)
        known |= {name: getattr(self.setting, name) for name in self.sampler.own}
        return {name: value for name, value in known.items() if name in self.subject.step_named}

    def _asked(self, method: str, given: dict[str, Any], **more: Any) -> Any:
        """What a method returns, and of which kind that is; which clones it changed in place."""
        function, order = getattr(self.thing, method), self.door.order(method)
        result = self._call(method, handing.call, function, order, given, **more)
        cloned = {w: given[role] for role, w in CLONED.items() if given.get(role) is not None}
        changed = {f"{method} changes {words}" for words, v in cloned.items() if v._version}
        self.subject.overwritten |= changed
        self.subject.returned[method] = handing.kind_of(result)
        return result

    def alone(
        self,
        out: Tensor,
        t: int,
        x_t: Tensor,
        seed: int | None,
        before: tuple[Tensor, Tensor] | None = None,
        **more: Any,
    ) -> Answer:
        """One step by itself. One that remembers has come to it through its list by steps on zeros,
        the last of them on the output and x_t `before`, if those are given."""
        if not self.sampler.remembers:
            return self.step(out, t, x_t, seed, **more)
        visited, shape = self.chain.visited, x_t.shape
        if t not in visited:
            raise Broken(f"its list of {self.length} steps has no t={t}", raised=False)
        place = visited.index(t)
        ready = self._come(place if before is None else place - 1, shape)
        if before is not None:
            ready.step(before[0], visited[place - 1], before[1], seed)
        return ready.step(out, t, x_t, seed, **more)

    def _come(self, place: int, shape: torch.Size) -> "Scheduler":
        """One that may be changed, at this place of the list."""
        chain, zero = self.chain, torch.zeros(shape)
        known = [c for c in chain.come if (c.n, c.shape) == (chain.n, shape) and c.at <= place]
        come = max(known, key=lambda each: each.at) if known else self._at_the_start(shape)
        if come.at < place:
            there = self._copied(come.thing)
            for t in chain.visited[come.at : place]:
                there.step(zero, t, zero, 0)
            come = replace(come, at=place, thing=there.thing)
        chain.come = [come, *(each for each in chain.come if each is not come)][:KEPT]
        return self._copied(come.thing)

    def _at_the_start(self, shape: torch.Size) -> Come:
        if not self.subject.has("set_timesteps"):
            return Come(self.chain.n, shape, 0, self.subject.fresh(self.setting).thing)
        start = self._copied(self.thing)
        start._call("set_timesteps", start.thing.set_timesteps, self.length)
        return Come(self.chain.n, shape, 0, start.thing)

    def _copied(self, thing: Any) -> "Scheduler":
        """A copy; of what holds something that has none, one that shares what it holds."""
        with suppress(Exception), apart(self.subject.own):
            return replace(self, thing=copy.deepcopy(thing))
        return replace(self, thing=copy.copy(thing))


def numbers(method: str, value: Any) -> Tensor:
    """What a candidate returned as a tensor of no class of its own; it stays in its graph.

    Raises:
        Broken: it holds no real numbers that can be read.
    """
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (RuntimeError, TypeError, ValueError):
            what = "nothing (None)" if value is None else f"a {type(value).__name__}"
            raise Broken(f"{method} returned {what}, where numbers are", raised=False) from None
    if type(value) is not Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            value = value.as_subclass(Tensor)
    odd = {
        "a tensor on the device meta, which holds no numbers": value.is_meta,
        f"a tensor of layout {value.layout}, not a dense one": value.layout != torch.strided,
        "complex numbers, not real ones": value.is_complex(),
    }
    for words in (words for words, is_so in odd.items() if is_so):
        raise Broken(f"{method} returned {words}", raised=False)
    return value
