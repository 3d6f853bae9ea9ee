"""Summaries in the tables of the reference without marks of citations, whose lists stand on other pages."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.autosummary import autosummary_table

MARK = re.compile(r"R[0-9a-f]+-\d+")
"""numpydoc's names for citations."""


def without_marks(app: Sphinx, doctree: nodes.document) -> None:
    """Take the marks, and the spaces before them, out of every table."""
    del app
    for table in doctree.findall(autosummary_table):
        for node in [node for node in table.findall(nodes.Element) if MARK.fullmatch(node.astext().strip("[]"))]:
            if node.parent is None or isinstance(node, nodes.paragraph):
                continue
            place = node.parent.index(node)
            before = node.parent[place - 1] if place else None
            if isinstance(before, nodes.Text):
                node.parent[place - 1] = nodes.Text(before.astext().rstrip())
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", without_marks)
    return {"parallel_read_safe": True}
