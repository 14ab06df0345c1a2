"""Read the built book as a browser would, and say what is broken: `python docs/check_built.py DIR`.

Fails on a link to a page, file or fragment that is not there, on a picture without alternative
text, on a formula that KaTeX could not draw, and on anything that the reader's browser would fetch
from elsewhere; on a warning among the outputs of a cell, and on a notebook that was not executed.
"""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TEX_ERROR = "#cc0000"  # the colour in which KaTeX draws what it does not understand
FETCHED = {"img": "src", "script": "src", "source": "src", "iframe": "src", "video": "src"}


class Page(HTMLParser):
    """Links, fragments and fetched files of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.fetched: list[str] = []
        self.without_alt: list[str] = []
        self.tex_errors = text.count(TEX_ERROR)
        self.warnings = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag points to."""
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.fetched.append(str(given[FETCHED[tag]]))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.fetched.append(str(given["href"]))
        if "stderr" in (given.get("class") or "").split():
            self.warnings += 1
        if tag == "img" and not (given.get("alt") or "").strip():
            self.without_alt.append(str(given.get("src"))[:60])


def problems(folder: Path) -> list[str]:
    """One line for each thing that is broken in the built pages below `folder`."""
    pages = {path: Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        if page.tex_errors:
            found.append(f"{name}: {page.tex_errors} formulas that KaTeX could not draw")
        if page.warnings:
            found.append(f"{name}: {page.warnings} cells show what went to stderr")
        found += [f"{name}: picture without alternative text: {src}" for src in page.without_alt]
        for url in page.fetched:
            if urlsplit(url).scheme in ("http", "https") or url.startswith("//"):
                found.append(f"{name}: fetches {url}")
        for url in [*page.links, *page.fetched]:
            found += [f"{name}: {why}" for why in _dead(url, path, folder, pages)]
    for path in sorted(folder.rglob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        if not code or any(cell["execution_count"] is None for cell in code):
            found.append(f"{path.relative_to(folder)}: was not executed")
        if any(out.get("name") == "stderr" for cell in code for out in cell["outputs"]):
            found.append(f"{path.relative_to(folder)}: holds what went to stderr")
    if not pages:
        found.append(f"{folder} holds no pages")
    return found


def _dead(url: str, path: Path, folder: Path, pages: dict[Path, Page]) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme or url.startswith("//"):
        return []
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return [f"link to {url}, which is not there"]
    if parts.fragment and target in pages:
        fragment = unquote(parts.fragment)
        if fragment not in pages[target].ids and fragment != "top":
            return [f"link to {url}: no such place on that page"]
    return []


def main(arguments: list[str]) -> int:
    """Print the problems; 0 if there are none, 1 if there are, 2 if the folder is not given."""
    if len(arguments) != 1:
        print("usage: python docs/check_built.py FOLDER", file=sys.stderr)
        return 2
    found = problems(Path(arguments[0]).resolve())
    for line in found:
        print(line)
    print(f"{len(found)} problems in the built pages")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
