"""What a program imports is loaded, and little else: names that are looked up late, and what an import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from skbig._utils.component import _LATE, registered

ROOT = Path(__file__).parents[1]
PACKAGES = ("skbig", "skbig.components", "skbig.networks")


def late_imports(package: str) -> dict[str, str]:
    """Return the names that type checkers alone see imported, and the modules that they see them imported from."""
    tree = ast.parse(Path(str(import_module(package).__file__)).read_text(encoding="utf-8"))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for body in blocks for node in body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def loaded_by(program: str) -> set[str]:
    """Return what a program loads, in a process of its own."""
    words = [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_find_the_same(package: str) -> None:
    """A name is in the module in which type checkers look for it, and each exported one is found."""
    module = import_module(package)
    for name, home in late_imports(package).items():
        assert getattr(module, name) is getattr(import_module(home), name)
    assert all(hasattr(module, name) and name in dir(module) for name in module.__all__)
    assert late_imports(package).keys() <= {*module.__all__}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_late_name_is_in_the_table(package: str) -> None:
    """Python finds the names by a table, and nothing that was imported by chance stands in for it."""
    late = set(late_imports(package))
    program = f"import {package} as package\nassert not {late} & vars(package).keys()"
    loaded_by(f"{program}\nfor name in {sorted(late)}: getattr(package, name)")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_late_name_is_that_of_a_module(package: str) -> None:
    """A module that is loaded becomes an attribute of its package, and would be found instead."""
    folder = Path(str(import_module(package).__file__)).parent
    assert not {path.stem for path in folder.iterdir()} & late_imports(package).keys()


def test_an_unknown_name_is_no_attribute() -> None:
    """As of any other module."""
    with pytest.raises(AttributeError, match="module 'skbig.components' has no attribute 'Adma'"):
        import_module("skbig.components").Adma  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Adma'"):
        from skbig.components import Adma  # noqa: F401


def test_a_late_component_has_the_name_that_it_is_found_by() -> None:
    """The catalogue of a package and its classes say the same."""
    for kind, late in _LATE.items():
        for name, (home, own) in late.items():
            found = registered(kind, name)
            assert (found.kind, found.name, found.__module__, found.__name__) == (kind, name, home, own)


def test_a_class_of_a_users_keeps_the_name_that_it_has_taken() -> None:
    """Also of a component that is loaded later."""
    loaded_by(
        "from skbig._utils.component import resolve\n"
        "from skbig.components import Schedule\n"
        "class Mine(Schedule, name='cosine'): pass\n"
        "from skbig.components import Cosine\n"
        "assert type(resolve(Schedule, 'cosine')) is Mine and Cosine.name == 'cosine'\n"
    )


def test_rooms_are_found_in_the_package() -> None:
    """Without an import of their own."""
    loaded_by("import skbig\nskbig.search.BigGridSearchCV, skbig.components.AdamW, skbig.distributed.DDP")


FEW_NEED = (
    *("skbig.search", "skbig.distributed", "skbig.launch", "skbig.inference", "skbig.tables"),
    *(
        "skbig.networks.modules",
        "skbig.networks.tabular",
        "skbig.estimators.tabular",
        "skbig.components.optimizers.muon",
    ),
)


def test_an_estimator_loads_what_it_needs() -> None:
    """Its import loads neither searches, nor ways to train in several processes, nor components that nobody named."""
    loaded = loaded_by("from skbig import BigMLPClassifier")
    assert not loaded & {*FEW_NEED}
    assert len([name for name in loaded if name.split(".")[0] == "skbig"]) <= 180


def test_an_import_loads_little_of_others() -> None:
    """Beside torch and what scikit-learn's own networks load."""
    theirs = loaded_by("import torch\nfrom sklearn.neural_network import MLPClassifier")
    ours = loaded_by("from skbig import BigMLPClassifier")
    others = {name.split(".")[0] for name in ours - theirs}
    assert others <= {"skbig", "safetensors", "sklearn"}
