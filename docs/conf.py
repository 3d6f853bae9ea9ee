"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# The examples are run by the gallery, without a screen.
os.environ.setdefault("MPLBACKEND", "Agg")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_extensions")]

from guide_links import guide_links  # noqa: E402

project = "skbig"
author = "The skbig developers"
project_copyright = "2026, The skbig developers"
metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
release = metadata["version"]
SOURCE = metadata["urls"]["Source"]
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "mathml",
    "summaries",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py", "auto_examples/*.py.md5"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_context = {"guide_links": guide_links()}
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings name the types
numpydoc_show_class_members = False  # the template of a class lists them

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/(quickstart|plot_)",
    "within_subsection_order": "gallery.FirstThingsFirst",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skbig",),
    "write_computation_times": False,
    "capture_repr": ("_repr_html_",),
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
}

# Inherited docstrings point at sections of scikit-learn's guide, and at terms of its glossary.
SCIKIT_LEARN = {
    "accuracy_score": "modules/model_evaluation.html#accuracy-score",
    "df_output_transform": "modules/df_output_transform.html",
    "metadata_routing": "metadata_routing.html",
    "r2_score": "modules/model_evaluation.html#r2-score",
    "sphx_glr_auto_examples_miscellaneous_plot_set_output.py": "auto_examples/miscellaneous/plot_set_output.html",
}


def link_to_scikit_learn(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element) -> nodes.reference | None:
    """Return a link for a reference that scikit-learn's guide or its glossary resolves."""
    kind, target = node.get("reftype"), node["reftarget"]
    if kind == "term":
        page = f"glossary.html#term-{target}"
    elif kind == "ref" and target in SCIKIT_LEARN:
        page = SCIKIT_LEARN[target]
    else:
        return None
    return nodes.reference("", "", content, refuri=f"https://scikit-learn.org/stable/{page}")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", link_to_scikit_learn)


html_theme = "pydata_sphinx_theme"
html_title = "skbig"
html_sidebars = {page: [] for page in ("index", "install", "faq", "design", "changelog")}  # pages without others below
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "icon_links": [{"name": "Source", "url": SOURCE, "icon": "fa-brands fa-github"}],
}
