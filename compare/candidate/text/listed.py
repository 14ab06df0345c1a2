"""What could be judged in a file, in lines for who names it without what in it is meant."""

from contextlib import suppress
from pathlib import Path

from compare.candidate.text.adapt import PARTS, Written, written
from compare.candidate.text.later import asked_by
from compare.candidate.text.offered import Offered, offered


def told(file: Path, source: str) -> tuple[str, bool]:
    """What could be judged in a file; and whether there is anything.

    Raises:
        SyntaxError: it is no Python.
    """
    found = offered(source)
    lines = {each.name: _line(file, each, source) for each in found}
    judged = {name: line for name, line in lines.items() if line}
    others = [f"{each.name}({', '.join(each.asks)})" for each in found if not lines[each.name]]
    if not judged:
        named = f": {', '.join(others[:8])}" if others else ""
        text = f"{file} has nothing that could be judged by its names{named}"
        text += asked_by(*(each.name for each in found))
        return f"{text}; an Adapter says which roles it fills", False
    width = max(map(len, judged))
    shown = [f"  --candidate {file}:{name:{width}}  {line}" for name, line in judged.items()]
    together = _adapter(file, "", source)
    if together is not None and "mine." in together.text and len(set(together.roles) - PARTS) > 1:
        shown.append(f"  ddpm adapt {file}  an adapter for all functions: {_roles(together)}")
    text = "\n".join([f"{file}, read and not run; what could be judged in it:", *shown])
    if others:
        text += f"\nof no role by their names: {', '.join(others)}; an Adapter says which they fill"
        text += asked_by(*(each.name for each in found if not lines[each.name]))
    return text, True


def _line(file: Path, each: Offered, source: str) -> str:
    """What something is, and what of it is judged; "" if nothing can be."""
    as_it_is = f"{each.kind}: {', '.join(each.judged)}"
    if each.judged and (each.kind != "class" or not each.asks):
        return as_it_is
    adapter = _adapter(file, each.name, source)
    if adapter is None or not (adapter.is_whole or each.asks):
        built = f"; built with ({', '.join(each.asks)}), so a function of yours is to build it"
        return f"{as_it_is}{built}" if each.judged else ""
    how = "by the adapter that" if not adapter.needs_edit else "by the adapter, to be edited, that"
    return f"{each.kind}: {_roles(adapter)}; {how} `ddpm adapt {file}:{each.name}` prints"


def _adapter(file: Path, name: str, source: str) -> Written | None:
    with suppress(ValueError):
        return written(file, name, source)
    return None


def _roles(adapter: Written) -> str:
    return ", ".join(role for role in adapter.roles if role != "alpha_bar") or "alpha_bar"
