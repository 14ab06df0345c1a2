"""Things of a file's own classes that its functions and other classes are handed: a schedule, a
configuration, as their annotations or names say; and how one is made."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compare.candidate.door.embedding import OPEN
from compare.candidate.door.names import plain
from compare.candidate.door.signature import MODELS
from compare.candidate.text.handed import build
from compare.candidate.text.offered import Function, is_network, methods_of, signed

COUNT = "1000"  # steps of what asks for their number, and has no default
SHORTEST = 5  # letters of a name that says of which class a thing is


@dataclass(frozen=True)
class OfFile:
    """What stands at the top of a file: {name: its source}."""

    classes: Mapping[str, ast.ClassDef] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)

    def kinds(self, function: Function) -> dict[str, str]:
        """{parameter: the class of the file that it is of}, of those that can be made."""
        return {name: kind for name, kind in self._said(function).items() if self.made(kind)}

    def parts(self, function: Function) -> dict[str, str]:
        """{parameter: the call that makes what it is to be}, of a function or an `__init__`."""
        texts = {name: self.made(kind) for name, kind in self._said(function).items()}
        return {name: text for name, text in texts.items() if text}

    def at_the_top(self, kind: str) -> tuple[str, str]:
        """The name that a thing of a class has in an adapter, and the line that makes it there."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).upper()
        tops = "|".join(map(re.escape, (*self.classes, *self.functions)))
        return name, f"{name} = " + re.sub(rf"\b({tops})\(", r"mine.\1(", self.made(kind))

    def made(self, kind: str) -> str:
        """The call that makes a thing of a class; "" if there is none that needs nothing unknown.

        >>> self_made = "class Schedule:\\n    def __init__(self, T, beta_end=0.02): ..."
        >>> OfFile({"Schedule": ast.parse(self_made).body[0]}).made("Schedule")
        'Schedule(T=1000)'
        """
        node = self.classes.get(kind)
        if node is None or is_network(node, methods_of(node, self.classes), self.classes):
            return ""
        rest = replace(self, classes={k: v for k, v in self.classes.items() if k != kind})
        texts = [rest._called(name) for name in self.functions if self._makes(name, kind)]
        init = methods_of(node, self.classes).get("__init__")
        words = "" if init is None else build(signed(init, True), init, False, rest.parts(init))
        texts.append(f"{kind}({words})")
        whole = (text for text in texts if OPEN not in text and not re.search(r"\bmodel\b", text))
        return re.sub(r"\bT\b(?!=)", COUNT, next(whole, ""))

    def _said(self, function: Function) -> dict[str, str]:
        """{parameter: the class that it is said to be of, or ""}, of what is no model."""
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        return {each.arg: self._kind(each) for each in given if each.arg not in MODELS}

    def _kind(self, parameter: ast.arg) -> str:
        """The class of a parameter by its annotation; without one, the only class that ends so."""
        if parameter.annotation is not None:
            words = re.findall(r"\w+", ast.unparse(parameter.annotation))
            return next((word for word in words if word in self.classes), "")
        name = plain(parameter.arg)
        alike = [kind for kind in self.classes if plain(kind).endswith(name)]
        return alike[0] if len(alike) == 1 and len(name) >= SHORTEST else ""

    def _makes(self, name: str, kind: str) -> bool:
        """Whether a function is said to return a thing of this class, or returns one it builds."""
        node = self.functions[name]
        returned = [e.value for e in ast.walk(node) if isinstance(e, ast.Return)]
        called = {getattr(getattr(value, "func", None), "id", "") for value in returned}
        return kind in called or (node.returns is not None and ast.unparse(node.returns) == kind)

    def _called(self, name: str) -> str:
        """The call of a function, with what it asks for by names."""
        node = self.functions[name]
        rest = replace(self, functions={k: f for k, f in self.functions.items() if k != name})
        return f"{name}({build(signed(node, False), node, False, rest.parts(node))})"
