"""How the documentation is built: `sphinx-build -W -n --keep-going docs docs/_build`.

Owns Sphinx's settings. Nothing is fetched: names outside falq are not links.
"""

from __future__ import annotations

from sphinx.application import Sphinx

import falq
from falq import __version__

project = "falq"
author = "the falq authors"
project_copyright = "2026, the falq authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
default_role = "code"
nitpicky = True
# Python's own names, and those of packages beside falq, have no pages here.
# What is under a leading underscore is the workings: signatures show it, no page does.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!falq(\.|$)).*"),
    (r"py:.*", r"falq\.(.*\.)?_.*"),
    (r"py:.*", r"falq\.emulator\.models\..*"),
    # What stands for a type that the caller chooses.
    (r"py:.*", r"falq\.models\..*\.OutputT(_co)?"),
]

html_theme = "furo"
html_title = f"falq {release}"
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

_COLON = "\N{RATIO}"


def _hide_colon(
    _app: Sphinx, what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading the words before a property's first colon as its type."""
    if what == "property" and lines:
        lines[0] = lines[0].replace(":", _COLON)


def _show_colon(
    _app: Sphinx, what: str, _name: str, _value: object, _options: object, lines: list[str]
) -> None:
    if what == "property":
        lines[:] = [line.replace(_COLON, ":") for line in lines]


def setup(app: Sphinx) -> None:
    """Run before and after napoleon, whose priority is 500."""
    # A name that is loaded late takes its public place when it is first asked for,
    # which must be before another's signature mentions it.
    for name in falq.__all__:
        getattr(falq, name)
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)
    app.connect("autodoc-process-docstring", _show_colon, priority=600)
