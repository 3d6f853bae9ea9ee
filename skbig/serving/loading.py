"""From a file to a model that is served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import joblib

from skbig._utils.extras import import_extra
from skbig.exceptions import ModelFileError
from skbig.secure.encryption import SUFFIX as ENCRYPTED
from skbig.serving.estimator_model import EstimatorModel
from skbig.serving.model import ServedModel
from skbig.serving.onnx_model import OnnxModel
from skbig.serving.trust import PICKLES, Trust
from skbig.trusted import trusted_types

SUFFIXES = (*PICKLES, ".skops", ".onnx")


def model_suffix(path: Path) -> str:
    """Return the suffix that says what kind of model a file holds, or ""."""
    suffix = Path(path.name.removesuffix(ENCRYPTED)).suffix
    return suffix if suffix in SUFFIXES else ""


def model_stem(path: Path) -> str:
    """Return the name of a model file without its suffixes."""
    return path.name.removesuffix(ENCRYPTED).removesuffix(model_suffix(path))


def check_file(path: Path, trust: Trust) -> None:
    """Raise ModelFileError for a file of another kind, and for a pickle that is not trusted."""
    suffix = model_suffix(path)
    if not suffix:
        raise ModelFileError(
            f"{path} is of no known kind. A model file ends in {', '.join(SUFFIXES)}, or these and .enc."
        )
    if suffix in PICKLES and not trust.allows_pickle(path):
        raise ModelFileError(
            f"{path} can run any code when it is loaded. If you trust whoever can write it, name it: "
            f"--trust-pickle {path}. Files of skops (.skops) and ONNX (.onnx) run none."
        )


def load_model(path: Path, trust: Trust, n_threads: int = 1) -> ServedModel:
    """Return the model of a file.

    Raises
    ------
    ModelFileError
        When the file is not trusted, or holds no model that can be served.
    IntegrityError
        When the file is not what was signed or encrypted.
    """
    check_file(path, trust)
    with trust.open(path) as file:
        try:
            return as_served(_LOADERS[model_suffix(path)](file, trust, n_threads))
        except (ModelFileError, ImportError):
            raise
        except Exception as error:  # whatever a library says of a file that is damaged
            raise ModelFileError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


def as_served(model: Any) -> ServedModel:
    """Return what the server needs: the model itself, or one made of an estimator or a session of ONNX Runtime."""
    if isinstance(model, ServedModel):
        return model
    return OnnxModel(model) if hasattr(model, "get_inputs") else EstimatorModel(model)


def _load_pickle(file: BinaryIO, trust: Trust, n_threads: int) -> Any:
    return joblib.load(file)


def _load_skops(file: BinaryIO, trust: Trust, n_threads: int) -> Any:
    skops_io = import_extra("skops.io", "skops", "A .skops file")
    return skops_io.load(file, trusted=[*trusted_types(), *trust.skops_types])


def _load_onnx(file: BinaryIO, trust: Trust, n_threads: int) -> Any:
    runtime = import_extra("onnxruntime", "onnx", "An .onnx file")
    providers = [name for name in runtime.get_available_providers() if name != "AzureExecutionProvider"]
    # By its name a graph finds weights that lie beside it; where files are checked, only what was checked is read.
    is_plain = trust.verify_key is None and not file.name.endswith(ENCRYPTED)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    return runtime.InferenceSession(file.name if is_plain else file.read(), options, providers=providers)


_LOADERS: dict[str, Callable[[BinaryIO, Trust, int], Any]] = {
    **dict.fromkeys(PICKLES, _load_pickle),
    ".skops": _load_skops,
    ".onnx": _load_onnx,
}
