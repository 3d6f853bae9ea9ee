"""How a notebook shows an estimator: links to these docs, tooltips of parameters, and which of them have been set."""

from __future__ import annotations

import dataclasses
from typing import Any

from skbig._utils.component import Component

DOCUMENTATION = "https://skbig.readthedocs.io/en/stable"
"""Where the pages of `make docs` stand; it is the Documentation of the package's metadata, too."""


class Documented:
    """Lets scikit-learn's HTML representation find the page of a class; mixed in before scikit-learn's own classes.

    scikit-learn takes the tooltips from the class's docstring, and shows them where there is a link.
    """

    _doc_link_module = "skbig"
    _doc_link_template = f"{DOCUMENTATION}/generated/skbig.{{name}}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"name": type(self).__name__}

    def _get_params_html(self, *args: Any, **options: Any) -> Any:
        """Return the table of parameters, in which a component's fields are set only where they are not its defaults.

        Of a parameter that the constructor does not name, scikit-learn does not know the default.
        """
        table = super()._get_params_html(*args, **options)  # type: ignore[misc]
        table.non_default = tuple(name for name in table.non_default if not self._is_untouched(name))
        first = [name for name in table if name in table.non_default]
        table.data = {name: table[name] for name in dict.fromkeys([*first, *table])}
        return table

    def _is_untouched(self, name: str) -> bool:
        """Whether a name is that of a component's field that has its default."""
        owner, _, field = name.partition("__")
        component = getattr(self, owner, None)
        if not isinstance(component, Component):
            return False
        defaults = {each.name: each.default for each in dataclasses.fields(component)}
        return field in defaults and getattr(component, field) == defaults[field]
