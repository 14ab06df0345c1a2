"""A static HTML page: one file, no request to anywhere, readable on paper and on a phone."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = """
:root{color-scheme:light dark;
--ink:#1b1b1f;--paper:#fff;--soft:#5c5f66;--line:#d9dce1;--tint:#f4f5f7}
@media(prefers-color-scheme:dark){:root{
--ink:#e8e8ea;--paper:#17181b;--soft:#a5a8b0;--line:#3a3d44;--tint:#212328}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.3rem;margin:2.2rem 0 .5rem}
p.lead{font-size:1.1rem}figure{margin:1rem 0}
img{max-width:100%;height:auto;border-radius:6px;background:#fff}
figcaption,.soft{color:var(--soft);font-size:.92rem}
pre{background:var(--tint);border:1px solid var(--line);border-radius:6px;padding:.8rem;
overflow:auto;font-size:.85rem;line-height:1.45}
table{border-collapse:collapse;margin:.8rem 0}td,th{border-bottom:1px solid var(--line);
padding:.35rem .8rem .35rem 0;text-align:left}
"""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: plain text, also the heading.
        lead: plain text, the sentence below it.
        parts: HTML, from the functions below.
    """
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f'<body><main><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f"{body}\n</main></body></html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A heading and HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>\n" + "\n".join(parts) + "</section>"


def text(words: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(words)}</p>"


def code(lines: str) -> str:
    """Text as a program printed it, or to be typed; can be scrolled by keyboard."""
    return f'<pre tabindex="0">{escape(lines)}</pre>'


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of plain text."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def picture(path: Path, description: str, caption: str = "") -> str:
    """An image file inside the page, with its description for those who do not see it."""
    kind = {".png": "png", ".gif": "gif"}[path.suffix]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/{kind};base64,{data}"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(description)}">{below}</figure>'
