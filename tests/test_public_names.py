"""What a user may import: exactly this. A change here is a change of the interface, and goes into the changelog."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import skbig
import skbig.callbacks
import skbig.components
import skbig.compress
import skbig.data
import skbig.explain
import skbig.federated
import skbig.image
import skbig.networks
import skbig.onnx
import skbig.privacy
import skbig.secure
import skbig.serving
import skbig.testing
import skbig.text

ROOT = Path(__file__).parents[1]

KINDS = ("Tabular", "MLP", "Linear", "Network", "Module")
ESTIMATORS = {f"Big{kind}{task}" for kind in KINDS for task in ("Classifier", "Regressor")}
SEARCHES = {"BigGridSearchCV", "BigHalvingGridSearchCV", "BigRandomizedSearchCV"}
BACKENDS = {"DDP", "FSDP", "TensorParallel"}
PUBLIC = {
    *ESTIMATORS,
    *SEARCHES,
    *BACKENDS,
    "from_sklearn",
    "from_skorch",
    "trusted_types",
    "show_versions",
    "save_weights",
    "load_weights",
}
NETWORKS = {
    *("MLP", "LowRankMLP", "Linear", "TabularMLP", "Network", "BuiltNetwork"),
    *(
        "Layer",
        "Dense",
        "MonotonicDense",
        "PiecewiseLinear",
        "Periodic",
        "OneHot",
        "Embedding",
        "Columns",
        "Parameter",
        "TrainingPass",
    ),
}
OPENERS = {"open_csr", "open_parquet", "save_csr"}
# The doors: modules that are imported by who needs them.
DOORS = {
    skbig.federated: {"client"},
    skbig.compress: {"Distilled", "low_rank", "prune", "report"},
    skbig.callbacks: {"EpochCallback", "TrainingRun", "CSVLogger", "TensorBoardLogger", "MLflowLogger"},
    skbig.explain: {
        *("gradients", "integrated_gradients", "expected_gradients"),
        *("Explanation", "ExplanationDisplay"),
    },
    skbig.onnx: {"to_onnx", "to_saved_model", "convert_layer", "Graph"},
    skbig.privacy: {
        *("MembershipAttack", "epsilon", "membership_attack"),
        *("Generalize", "Pseudonymize", "Suppress", "k_anonymity"),
    },
    skbig.secure: {
        *("sign", "verify", "open_verified", "encrypt", "decrypt", "open_encrypted"),
        *("generate_key", "generate_signing_keys"),
    },
    skbig.serving: {"serve", "create_app", "predictor", "ServedModel", "TensorSpec", "Trust", "Limits"},
    skbig.testing: {"check_component", "tiny_text_model", "tiny_image_model"},
    skbig.text: {"TextEncoder", "BigTextClassifier", "BigTextRegressor"},
    skbig.image: {"ImageEncoder"},
}
INTERFACES = {"Augmentation", "Average", "Clipping", "Component", "Loss", "Optimizer", "Penalty", "Schedule"}
COMPONENTS = {
    *("LogLoss", "FocalLoss", "Hinge", "SquaredHinge", "ModifiedHuber", "ClassFunctionLoss"),
    *(
        "SquaredError",
        "AbsoluteError",
        "Huber",
        "LogCosh",
        "SquaredLogError",
        "Poisson",
        "Gamma",
        "GaussianNLL",
        "Quantile",
    ),
    *("EpsilonInsensitive", "FunctionLoss"),
    *("L1", "L2", "ElasticNet", "GroupL1"),
    *("SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "Lion", "Muon", "LBFGS"),
    *("Constant", "Exponential", "Linear", "Cosine", "StepDecay", "InverseTime", "InvScaling", "OneCycle", "Plateau"),
    *("FunctionSchedule", "FlatCosine", "CosLog4"),
    *("ClipNorm", "ClipValue"),
    *("Mixup", "GaussianNoise", "SwapNoise"),
    "DPSGD",
    "EMA",
}
# What a component of one's own is declared with, or is handed.
TOOLS = {"hyperparameter", "Mix", "Progress"}


def public_objects() -> list[Any]:
    names = [(skbig, name) for name in sorted(PUBLIC)]
    names += [(skbig.data, name) for name in sorted(OPENERS)]
    names += [(skbig.networks, name) for name in sorted(NETWORKS)]
    names += [(door, name) for door, exported in DOORS.items() for name in sorted(exported)]
    # Component itself is the ground of the interfaces, and no user subclasses it.
    names += [(skbig.components, name) for name in sorted((COMPONENTS | INTERFACES) - {"Component"})]
    return [pytest.param(getattr(module, name, None), id=name) for module, name in names]


def test_skbig_exports_its_estimators() -> None:
    """The package exports the estimators and the converter."""
    assert set(skbig.__all__) - {"__version__"} == PUBLIC


def test_components_are_exported() -> None:
    """The room of the components exports the components, and the interfaces to make more."""
    assert set(skbig.components.__all__) == COMPONENTS | INTERFACES | TOOLS


def test_networks_are_exported() -> None:
    """The room of the networks exports them, and what one of your own is made of."""
    assert set(skbig.networks.__all__) == NETWORKS


def test_openers_are_exported() -> None:
    """The room of the rows exports what opens files; all else in it is inside."""
    assert set(skbig.data.__all__) == OPENERS


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_doors_export_what_they_are_for(door: Any) -> None:
    """Each door exports what its guide shows."""
    assert set(door.__all__) == DOORS[door]


@pytest.mark.parametrize(
    "module", [skbig, skbig.components, skbig.data, skbig.networks, *DOORS], ids=lambda module: module.__name__
)
def test_nothing_else_looks_public(module: Any) -> None:
    """What is not exported is a module, or begins with an underscore."""
    visible = {name for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert visible - {"annotations", "TYPE_CHECKING"} <= set(module.__all__)


def test_the_version_is_written_once() -> None:
    """The package, its metadata and the changelog speak of the same version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    latest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert latest is not None
    assert skbig.__version__ == version == latest[1]


@pytest.mark.parametrize("thing", public_objects())
def test_what_is_public_is_documented_with_an_example(thing: Any) -> None:
    """A public docstring has an example that runs."""
    assert ">>> " in (thing.__doc__ or "")


@pytest.mark.parametrize("thing", public_objects())
def test_documented_parameters_are_the_parameters(thing: Any) -> None:
    """The docstring describes every parameter, in order, and no other."""
    is_protocol = getattr(thing, "_is_protocol", False)  # which nobody calls
    assert documented_parameters(thing) == ([] if is_protocol else list(inspect.signature(thing).parameters))


def documented_parameters(thing: Any) -> list[str]:
    """Return the names in the section of parameters of a numpydoc docstring."""
    text = inspect.cleandoc(thing.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n[A-Z][a-z]+\n---|\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        return []
    lines = re.findall(r"^(\w[\w, ]*) :", section[1], re.MULTILINE)
    return [name for line in lines for name in line.split(", ")]


def test_everything_public_is_in_the_reference() -> None:
    """The reference lists every public name."""
    listed = re.findall(r"^   (\w+)$", (ROOT / "docs" / "api.rst").read_text(encoding="utf-8"), re.MULTILINE)
    public = (PUBLIC, OPENERS, NETWORKS, skbig.components.__all__, *DOORS.values())
    assert set().union(*public) <= {*listed}
