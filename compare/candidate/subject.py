"""A candidate as the checks see it: built with named keywords, called positionally, remembered.

What a candidate answers never depends on the oracle, so every answer is kept: the checks can be
asked again with another oracle (a mistake of the catalogue) without calling the candidate again.
"""

import ast
import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

from torch import Tensor, nn

from compare.candidate.devices import OnTheCpu, names_another
from compare.candidate.door import tables
from compare.candidate.door.embedding import embedding_of
from compare.candidate.door.forward import in_its_role
from compare.candidate.door.names import GENERATORS, plain, roles
from compare.candidate.door.reading import CANONICAL, CONTRACT, Reading
from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import (
    SIDE,
    SIDES,
    asked_for,
    attribute,
    named_keywords,
    takes_generator,
    written,
)
from compare.candidate.door.source import parsed
from compare.candidate.door.variables import Seen
from compare.candidate.load import REFUSALS, WHOLE, Adapter, Broken, brief, roles_apart
from compare.candidate.scheduler import Chain, Scheduler
from compare.candidate.surroundings import Surroundings, apart
from compare.candidate.text.does import calls_with_one
from compare.candidate.text.later import asked_by
from compare.candidate.text.ready import adapter_for, how_to_build, is_written
from compare.oracle import KINDS, Setting
from compare.oracle.samplers import ALL

OTHER_NAMES = {  # tried where Diffusers' word is refused
    "squaredcos_cap_v2": "cosine",
    "v_prediction": "v",
    "epsilon": "eps",
    "sample": "x_0",
}
SPELLED = {  # how else people write them
    "squaredcos_cap_v2": ("cosine",),
    "v_prediction": ("v", "v_pred", "pred_v", "velocity", "v-prediction"),
    "epsilon": ("eps", "noise", "pred_noise", "pred_eps"),
    "sample": ("x0", "x_0", "x_start", "xstart", "pred_x0", "pred_x_start", "start"),
}
WITH_WORDS = ("beta_schedule", "prediction_type")  # keywords that have such words
STEP_ONLY = tuple(option for sampler in ALL for option in sampler.own)
ENDS = {"beta_start", "beta_end", "trained_betas"}
NAMES = tuple(f.name for f in fields(Setting) if f.name not in (*STEP_ONLY, "sampler"))


class _FromAdapter:
    """An adapter with the methods of a scheduler; a role that is not filled is not there."""

    def __init__(self, adapter: Adapter):
        if adapter.tables is not None:
            self.tables = tables.asked(adapter.tables)
            self.alphas_cumprod, self.betas = tables.schedule(self.tables)
        if adapter.alpha_bar is not None:
            self.alphas_cumprod = adapter.alpha_bar()
        if adapter.add_noise is not None:
            self.add_noise = adapter.add_noise
        if adapter.step is not None:
            self.step = _step_of(adapter.step)


def _step_of(run: Callable[..., Any]) -> Callable[..., Any]:
    """The step of an adapter, which takes a generator by place if it takes one."""
    parameters = named_keywords(run)
    fourth = [*parameters][3:4]
    if not takes_generator(run, 3) or (fourth and roles("step", [*parameters])[3] == "z"):
        return run

    def step(*given: Any, generator: Any = None) -> Any:
        return run(*given, generator)

    return step


def _is_built(thing: Any) -> bool:
    """True for an object that can be called, and has what a factory has not: a method of a role."""
    routine = inspect.isclass(thing) or inspect.isroutine(thing)
    return not routine and any(hasattr(type(thing), name) for name in (*CONTRACT, *WHOLE))


def _is_large(name: str, default: Any) -> bool:
    return plain(name) in SIDES and isinstance(default, int) and default > 2 * SIDE


def _refuses(error: Exception, values: Iterable[Any]) -> bool:
    """True for an error by which values are refused; of a word, any: a constructor that goes by
    words may have no answer to others, and break where it misses it."""
    return isinstance(error, REFUSALS) or any(isinstance(value, str) for value in values)


def words_in(made: type) -> set[str]:
    """The words that stand in the code of a class and its bases."""
    trees = [parsed(each) or ast.Module([], []) for each in made.__mro__[:-1]]
    constants = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return {node.value for node in constants if isinstance(node.value, str)}


def _adapted(function: Callable[..., Any]) -> Adapter:
    """A function that is no factory, in the role that its names say."""
    found = role_of(function)
    if not found:
        asked = ", ".join(asked_for(function))
        known = "add_noise(x_0, noise, t), step(eps, t, x), sample(model, n), loss(model, x_0)"
        known += " or embedding(t, dim)"
        text = f"it is a function of ({asked}), which is none of {known} by its names"
        later = asked_by(function.__name__) or adapter_for(function)
        later = later or "; say what it is: Adapter(step=lambda eps, t, x: ...)"
        raise Broken(f"{text}{later}")
    if {"add_noise", "step"} & {*found}:
        file = parsed(inspect.getmodule(inspect.unwrap(function)))
        if calls_with_one(function.__name__, file):
            return Adapter(**found, reading="t=1")
    return Adapter(**found)


class Subject:
    """One candidate: what it offers, the conventions read off it, and all its answers.

    Args:
        candidate: a class, a factory, an object with `step`, or an `Adapter`.
        name: shown in the report.
        level: `"quick"` or `"full"`.
        seed: of the probes.
        own: what it finds around it while it runs.
        base: the setting that it is asked to be, where it names the keywords.
        assumed: the tables that its adapter hands it are nobody's.
    """

    def __init__(
        self,
        candidate: Any,
        name: str,
        level: str = "quick",
        seed: int = 0,
        own: Surroundings | None = None,
        base: Setting | None = None,
        assumed: bool = False,
    ):
        self.name, self.level, self.seed = name, level, seed
        self.own = own or Surroundings()
        self.own.on_cpu = self.own.on_cpu or OnTheCpu() if names_another(candidate) else None
        self.adapter: Adapter | None = None
        self.whole: dict[str, Callable[..., Any]] = {}  # {whole role: what fills it}
        self.answers: dict[Any, Any] = {}
        self.not_offered: list[str] = []
        self.words: dict[str, str] = {}  # {Diffusers' word for a value: the candidate's}
        self.conventions: dict[str, str] = {}
        self.declared: str | None = None  # the prediction type of one that takes no other
        self.shorter: Setting | None = None  # with another T, of a schedule that it does not name
        self.kinds: tuple[Setting, ...] = ()  # other readings of a step or list that fits none
        self.door: Reading = CANONICAL
        self.returned: dict[str, str] = {}  # {method: what kind of thing it returned last}
        self.by_names = is_written(candidate)  # its adapter is none of the user's
        self.table_is_assumed = assumed  # it shows none
        self.seen: Seen | None = None  # it shows none, and a variable of its functions has this
        self.seen_table: Tensor | None = None  # it shows none, and its loss is seen to have this
        self.shows_another = False  # what it shows is a table of its loop's list alone
        self.in_loop_alone: set[str] = set()  # methods that only its own loop can call
        self.own_variance = False  # its model says the size of the noise by a rule of its own
        self.steps_pass = True  # whole chains are judged only where every single step passes
        self.overwritten: set[str] = set()  # arguments that a method changed in place
        self.any_words: set[tuple[str, Any]] = set()  # (keyword, word) that any word stands for
        self._factory = self._door(candidate)
        self.defaults = named_keywords(self._factory)
        self.small = {name: SIDE for name, size in self.defaults.items() if _is_large(name, size)}
        self.words |= {usual: own for usual, own in OTHER_NAMES.items() if self._says(own)}
        self.words |= self._spelled()
        self.named = set(self.defaults) & set(NAMES)
        self.setting = base or self._of_its_length()
        self._find_base()

    def _of_its_length(self) -> Setting:
        """The usual setting, with as many steps as it has by default, where it has ends of its
        own."""
        T = self.defaults.get("num_train_timesteps")
        if self.named & ENDS or not isinstance(T, int):
            return Setting()
        is_own = 1 < T < Setting.num_train_timesteps
        return replace(Setting(), num_train_timesteps=T) if is_own else Setting()

    def _says(self, word: str) -> bool:
        """True if this word is the default of one of its keywords."""
        return any(self.defaults.get(name) == word for name in WITH_WORDS)

    def _spelled(self) -> dict[str, str]:
        """{Diffusers' word: its own} of words that stand in its code, where those of Diffusers do
        not; of what a model predicts, two of which have a word, the third without is `unsaid`."""
        named = {*self.defaults} & {*WITH_WORDS}
        made = self._factory if inspect.isclass(self._factory) and named else type
        said = words_in(made)
        own = {usual: [w for w in words if w in said] for usual, words in SPELLED.items()}
        found = {k: w[0] for k, w in own.items() if w and k not in said}
        unsaid = {k for k in KINDS if k not in said and not own[k] and k not in self.words}
        in_own_words = "prediction_type" in named and bool({*found} & {*KINDS})
        self.unsaid = unsaid if in_own_words and len(unsaid) == 1 else set()
        return {k: word for k, word in found.items() if k not in self.words}

    def _door(self, candidate: Any) -> Callable[..., Any]:
        if inspect.isfunction(candidate) and not {*asked_for(candidate)} <= {*NAMES}:
            candidate, self.by_names = _adapted(candidate), True
        if inspect.isclass(candidate) and (embeds := embedding_of(candidate)) is not None:
            candidate = Adapter(embedding=embeds)
        if isinstance(candidate, Adapter):
            self.adapter = candidate
            return lambda: _FromAdapter(candidate)
        if isinstance(candidate, nn.Module) or not callable(candidate) or _is_built(candidate):
            return lambda: candidate
        return candidate

    def _find_base(self) -> None:
        """Builds it once, without the keywords whose plain values it refuses."""
        try:
            for name in sorted(self.named):
                value = getattr(self.setting, name)
                try:
                    self._make({name: value})
                except Exception as error:
                    if not _refuses(error, [value]):
                        raise
                    self.named.discard(name)
                    self.not_offered.append(f"{name}={value!r} ({brief(error)})")
                    if name == "prediction_type":
                        self.declared = self._kind_by_default()
            thing = in_its_role(self._make(self._keywords(self.setting)))
            self.first = self._wrap(thing)
        except Exception as error:
            why = brief(error) + how_to_build(self._factory)
            later = asked_by(getattr(self._factory, "__name__", ""))
            raise Broken(f"cannot be built: {why}{later}") from None
        if isinstance(thing, Adapter):
            self.adapter = thing
        self.whole = roles_apart(self.adapter or thing, self.own)
        self.step_named = named_keywords(attribute(self.first, "step"))
        self.set_named = named_keywords(attribute(self.first, "set_timesteps"))
        if self.adapter is not None and self.adapter.prediction_type is not None:
            self.setting = replace(self.setting, prediction_type=self.adapter.prediction_type)
        for sampler in ALL:
            if sampler.own and sampler.own[0] in self.step_named:
                self.setting = replace(self.setting, sampler=sampler.name)

    @property
    def words_in_code(self) -> set[str]:
        """Those of the class that it is built of; none of anything else."""
        return words_in(self._factory) if inspect.isclass(self._factory) else set()

    def _kind_by_default(self) -> str | None:
        """What its model predicts by the default of the keyword, in Diffusers' words."""
        default = self.defaults["prediction_type"]
        usual = {own: word for word, own in OTHER_NAMES.items()} | {k: k for k in OTHER_NAMES}
        return usual.get(default) if isinstance(default, str) else None

    def _make(self, keywords: dict[str, Any]) -> Any:
        """A new one; a value that it refuses is tried under its other name."""
        try:
            return self._called(keywords, self.words)
        except Exception:
            for value in keywords.values():
                if isinstance(value, str) and value in OTHER_NAMES and value not in self.words:
                    words = {**self.words, value: OTHER_NAMES[value]}
                    with contextlib.suppress(Exception):
                        made = self._called(keywords, words)
                        self.words = words
                        return made
            raise

    def _called(self, keywords: dict[str, Any], words: dict[str, str]) -> Any:
        given = {name: value for name, value in keywords.items() if value is not None}
        if self.unsaid & {*map(str, given.values())}:
            raise ValueError("it has no word for what the model predicts")
        given = {k: words.get(v, v) if isinstance(v, str) else v for k, v in given.items()}
        if self.small:  # unless it cannot be built so
            with contextlib.suppress(Exception), apart(self.own):
                return self._factory(**{**self.small, **given})
        with apart(self.own):
            return self._factory(**given)

    def _wrap(self, thing: Any) -> Any:
        if not isinstance(thing, Adapter):
            return thing
        with apart(self.own):
            return _FromAdapter(thing)

    def _keywords(self, setting: Setting) -> dict[str, Any]:
        chosen = {name: getattr(setting, name) for name in NAMES if name in self.named}
        if chosen.get("trained_betas") is not None:
            chosen["trained_betas"] = list(chosen["trained_betas"])
        return chosen

    @property
    def t_base(self) -> int:
        """0 or 1: what t counts from."""
        return self.door.t_base.value

    @property
    def first_entry(self) -> int:
        """0 or 1: the entry of its table at which its first step stands."""
        return self.t_base or self.door.entry.value

    @property
    def draws_from_generator(self) -> bool:
        """True if the noise of its step comes from a generator that it is given, or with which the
        noise that it is given is drawn."""
        named = any(name in self.step_named for name in GENERATORS)
        return named or "z" in self.door.order("step").takes

    @property
    def asked_as(self) -> tuple[str, str]:
        """What the answers of its loss hang on, beside itself."""
        return self.setting.prediction_type, self.door.pictures.value

    def function(self, method: str) -> Any:
        """The candidate's own function of this name, whose parameters say what it takes."""
        return getattr(self.adapter, method, None) or getattr(self.first, method)

    @property
    def own_objects(self) -> list[Any]:
        """What it built; of an adapter also what its loop is written about, which it may make."""
        found: list[Any] = self.remember(("own objects",), self._own_objects)
        return found

    def _own_objects(self) -> list[Any]:
        roles = [getattr(self.adapter, each, None) for each in ("sample", "loss", "step")]
        role = next((written(each) for each in roles if each is not None), None)
        kept = inspect.getclosurevars(role).nonlocals if inspect.isfunction(role) else {}
        found = [self.first]
        for name, value in kept.items():
            if type(value).__module__.partition(".")[0] == "compare":
                continue
            with contextlib.suppress(Exception), apart(self.own):
                makes = name == "made" and inspect.isfunction(value)
                found.append(value() if makes else value)
        return found

    def declared_eta(self, role: str) -> float | None:
        """The eta of DDIM that a loop, `"sample"`, has by default, or that stands as an attribute;
        None if neither is a number."""
        named = named_keywords(written(self.function(role))) if role == "sample" else {}
        eta = named.get("eta", attribute(self.first, "eta"))
        is_number = isinstance(eta, int | float) and not isinstance(eta, bool)
        return float(eta) if is_number else None

    @property
    def is_network(self) -> bool:
        """True for a network alone: nothing of it is a formula of a diffusion."""
        return self.adapter is not None and self.adapter.roles == ["network"]

    def has(self, method: str) -> bool:
        """True if the built candidate has this method, table or role."""
        if self.shows_another and method in ("tables", *tables.SCHEDULE):
            return False
        if method in self.in_loop_alone:
            return False
        if method in WHOLE:
            return method in self.whole
        if method == "tables" and self.adapter is None:
            return tables.has_attributes(self.first)
        if method in tables.SCHEDULE:
            return self.shows(self.first, method) is not None
        return attribute(self.first, method) is not None

    def shows(self, thing: Any, name: str) -> Any:
        """The table of its schedule that something which it built shows; a property may be code."""
        if self.shows_another:
            return None
        with apart(self.own):
            found = tables.of_schedule(thing, name)
        if found is None and self.adapter is not None:
            shown = (tables.of_schedule(each, name) for each in self.own_objects[1:])
            found = next((each for each in shown if each is not None), None)
        if found is None and self.seen is not None and self.seen.name == name:
            return self.seen.table
        return found

    def offers(self, **changes: Any) -> Scheduler | None:
        """The scheduler of the base setting with some values changed, or None if not offered.

        A value that it does not name is offered only where it is what the candidate does anyway.
        """
        for name, value in changes.items():
            named = name in (self.step_named if name in STEP_ONLY else self.named)
            if not named and value != getattr(self.setting, name):
                return None
            if (name, value) in self.any_words:
                return None
        return self.build(replace(self.setting, **changes))

    def all_offered(self, wanted: dict[str, dict[str, Any]]) -> dict[str, Scheduler]:
        """Those of several changes of the base setting, by name, that the candidate offers."""
        found = {name: self.offers(**changes) for name, changes in wanted.items()}
        return {name: scheduler for name, scheduler in found.items() if scheduler is not None}

    def scheduler(self) -> Scheduler:
        """The scheduler of the base setting."""
        built = self.build(self.setting)
        if built is None:
            raise Broken("cannot be built with the values that it takes one by one", raised=False)
        return built

    def build(self, setting: Setting) -> Scheduler | None:
        """A scheduler of this setting, or None if the candidate refuses it."""
        keywords = self._keywords(setting)
        own = [getattr(setting, name) for name in STEP_ONLY]
        unnamed = (setting.num_train_timesteps, setting.sampler, *own)
        key = repr((sorted(keywords.items()), unnamed))
        made = self.remember(("build", key), lambda: self._made(keywords))
        return None if made is None else Scheduler(self, made[0], setting, key, made[1])

    def _made(self, keywords: dict[str, Any]) -> tuple[Any, Chain] | None:
        """What the candidate makes of these keywords; None, and said, if it refuses them."""
        try:
            return self._wrap(self._make(keywords)), Chain()
        except Exception as error:
            base = self._keywords(self.setting)
            changed = {k: v for k, v in keywords.items() if v != base[k]}
            if not _refuses(error, changed.values()):
                raise Broken(f"cannot be built: {brief(error)}") from None
            said = ", ".join(f"{k}={v!r}"[:60] for k, v in changed.items())
            self.not_offered.append(f"{said} ({brief(error)})"[:200])
            return None

    def takes(self, **keywords: Any) -> Scheduler | None:
        """One made with such keywords beside the usual ones, or None; nothing is said of it."""
        try:
            thing = self._wrap(self._make(self._keywords(self.setting) | keywords))
        except Exception:
            return None
        return Scheduler(self, thing, self.setting, repr(("takes", keywords)), Chain())

    def fresh(self, setting: Setting) -> Scheduler:
        """A scheduler of a setting that is offered, made anew."""
        try:
            thing = self._wrap(self._make(self._keywords(setting)))
        except Exception as error:
            raise Broken(f"cannot be built again: {brief(error)}") from None
        return Scheduler(self, thing, setting, "fresh", Chain())

    def reading(self, **changes: Any) -> "Subject":
        """The same candidate and answers, its unnamed conventions read otherwise."""
        other = copy.copy(self)
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
