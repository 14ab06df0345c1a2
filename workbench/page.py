"""Static HTML pages, made of templates: what is put in is shown as it is, never as markup."""

import base64
from pathlib import Path
from typing import Any


def render(template: Path, **values: Any) -> str:
    """A page.

    Args:
        template: a Jinja2 file that extends `page.html`, which lies beside this file.
        values: what the template names. All that is no part of a template is escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(values)


def embedded(path: Path) -> str:
    """The address of a picture that lies in the page itself.

    Args:
        path: a `.png` or `.gif` file.
    """
    kind = {".png": "png", ".gif": "gif"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
