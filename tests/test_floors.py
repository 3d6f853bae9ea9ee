"""The house: a file imports only from its own room and from lower floors; rooms on one floor are strangers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "skbig").rglob("*.py"))

# Room -> floor. A folder is a room; a file of its own too, but for those on the ground floor, which share one.
GROUND = "ground"
FLOORS = {
    GROUND: 0,
    "components": 1,
    "networks": 1,
    "data": 1,
    "tables": 1,
    "launch": 1.5,
    "engine": 2,
    "inference": 2,
    "distributed": 2.5,
    "estimators": 3,
    "pretrained": 3.5,
    "search": 4,
    "plots": 4,
    "privacy": 4,
    "onnx": 5,
    "explain": 5,
    "secure": 4,
    "callbacks": 4,
    "trusted": 5,
    "versions": 4,
    "weights": 4,
    "serving": 6,
    "compress": 6,
    "federated": 4,
    "testing": 4,
    "text": 4,
    "image": 4,
    "from_sklearn": 4,
    "from_skorch": 4,
    "__init__": 7,
    "cli": 7,
    "__main__": 8,
}
GROUND_FILES = {"exceptions", "_utils"}
COMPAT = ROOT / "skbig" / "estimators" / "sklearn_compat.py"


def module_name(path: Path) -> str:
    """Return the dotted name, in which a folder's ``__init__`` stays visible: ``skbig.components.__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists()


def file_of(name: str) -> str:
    """Return the module of the file that an imported name lies in."""
    while not is_module(name):
        if is_module(f"{name}.__init__"):
            return f"{name}.__init__"
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    first = module.split(".")[1]
    return GROUND if first in GROUND_FILES else first


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    """Return the files of skbig that a file imports."""
    names = imported_names(parse(path))
    return {file_of(name) for name in names if name.split(".")[0] == "skbig"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_every_file_has_a_room() -> None:
    """A new room needs a floor."""
    assert not [path for path in FILES if room(module_name(path)) not in FLOORS]


def test_imports_come_from_the_same_room_or_a_lower_floor() -> None:
    """A file imports only from its own room and from lower floors."""
    for path in FILES:
        here = room(module_name(path))
        strangers = {name for name in imports_of(path) if room(name) != here and FLOORS[room(name)] >= FLOORS[here]}
        assert not strangers, f"{module_name(path)} imports from its own floor or from above: {sorted(strangers)}"


def test_imports_are_absolute() -> None:
    """A reader sees where a name comes from without counting dots."""
    for path in FILES:
        relative = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom) and node.level]
        assert not relative, path


def test_imports_make_no_cycle() -> None:
    """The files can be read in an order in which each one builds on what was read before."""
    waiting = {module_name(path): imports_of(path) - {module_name(path)} for path in FILES}
    while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting, f"Among these files there is a cycle: {sorted(waiting)}"


def test_only_one_file_knows_private_scikit_learn() -> None:
    """Private names of scikit-learn and its version are asked for in one file."""
    for path in sorted({*FILES} - {COMPAT}):
        tree = parse(path)
        names = {*imported_names(tree), *attribute_chains(tree)}
        private = {name for name in names if name.startswith("sklearn.") and re.search(r"\._", name)}
        assert not private, path


def attribute_chains(tree: ast.AST) -> Iterator[str]:
    """Yield every dotted expression of plain names, such as ``sklearn.utils._param_validation``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"[\w.]+", dotted := ast.unparse(node)):
            yield dotted


def test_searches_use_public_verbs_of_estimators_and_sessions() -> None:
    """The room of searches reads no private attribute of what comes from another room."""
    private = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path in FILES
        if path.parent.name == "search"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "other"))
    ]
    assert [line for line in private if "distributed_c10d" not in line] == []  # torch's own


def test_importing_needs_no_more_than_is_declared() -> None:
    """What is imported with the package is Python's own, a dependency, or what scikit-learn always brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", line)[0].replace("scikit-learn", "sklearn") for line in project["dependencies"]}
    for path in FILES:
        top_level = [node for node in parse(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        packages = {name.split(".")[0] for node in top_level for name in imported_names(node)}
        assert packages <= {*sys.stdlib_module_names, *declared, "scipy", "skbig"}, path


def test_what_few_need_is_loaded_when_it_is_needed() -> None:
    """Loading the package loads no compiler, no sharding and no extra."""
    heavy = ["torch._dynamo", "sympy", "torch.distributed.tensor", "torch.distributed.fsdp"]
    heavy += ["matplotlib", "shap", "h5py", "zarr", "dask", "ray", "cryptography", "skops", "starlette", "uvicorn"]
    program = f"import sys, skbig; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
