"""Formulas as MathML, written while the pages are made: a reader needs neither a network nor a script to see them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

BARS = re.compile(r"(?<!\\)\|([^|]+)(?<!\\)\|")
"""A pair of plain bars, of which MathML would not know which opens and which closes."""


def mathml(tex: str, as_block: bool) -> str:
    """Return a formula as MathML."""
    return str(tex2mathml(BARS.sub(r"\\lvert \1 \\rvert ", tex), as_block=as_block))


def write_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula in a line."""
    translator.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def write_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula that stands alone."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
