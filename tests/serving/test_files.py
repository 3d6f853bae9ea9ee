"""Files: which are models, which are trusted, and what is checked before one is opened."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
import skops.io
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbig.exceptions import IntegrityError, ModelFileError
from skbig.secure import encrypt, generate_key, generate_signing_keys, sign
from skbig.serving import Trust
from skbig.serving.loading import load_model
from skbig.serving.repository import find_models
from tests.fitting import X, trained

MODEL = trained("regression")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def answers(path: Path, trust: Trust | None = None) -> bool:
    """Whether a file is loaded, and predicts as the model does."""
    outputs = load_model(path, trust or Trust()).run({"X": X}, ["predict"])
    return bool((outputs["predict"] == MODEL.predict(X)).all())


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "model.pickle"])
def test_a_pickle_is_loaded_only_when_it_is_named(name: str, tmp_path: Path) -> None:
    """A file that can run code is refused before it is opened, unless it, or its folder, is trusted."""
    path, mark = tmp_path / name, tmp_path / "exploded"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    for trust in (Trust(), Trust([tmp_path / "other.joblib"]), Trust([tmp_path / "model"]), Trust(verify_key=b"x")):
        with pytest.raises(ModelFileError, match=f"{name} can run any code when it is loaded.*--trust-pickle"):
            load_model(path, trust)
    assert not mark.exists()
    joblib.dump(MODEL, path)
    assert answers(path, Trust([path]))
    assert answers(path, Trust([str(tmp_path)]))
    linked = tmp_path / "elsewhere" / "model.joblib"
    linked.parent.mkdir()
    linked.symlink_to(path)
    with pytest.raises(ModelFileError):  # the file itself counts, and not where a link to it lies
        load_model(linked, Trust([linked.parent]))


def test_skops_is_loaded_without_being_named(tmp_path: Path) -> None:
    """A skops file needs no trust, but for types that skops does not know."""
    path = tmp_path / "model.skops"
    skops.io.dump(MODEL, path)
    assert answers(path)
    skops.io.dump(make_pipeline(FunctionTransformer(twice), MODEL), path)
    with pytest.raises(ModelFileError, match="twice"):
        load_model(path, Trust())
    load_model(path, Trust(skops_types=[f"{twice.__module__}.twice"]))


def twice(X: Any) -> Any:
    return 2 * X


def test_files_are_verified_before_they_are_loaded(tmp_path: Path) -> None:
    """Where a public key is given, a file without its signature, or another one than was signed, is not opened."""
    private, public = generate_signing_keys(tmp_path / "a.pem", tmp_path / "b.pem")
    path, trust = tmp_path / "model.skops", Trust(verify_key=public)
    skops.io.dump(MODEL, path)
    with pytest.raises(IntegrityError, match="has no signature"):
        load_model(path, trust)
    sign(path, private)
    assert answers(path, trust)
    skops.io.dump(LinearRegression().fit(X, X[:, 0]), path)
    with pytest.raises(IntegrityError, match="is not the file that was signed"):
        load_model(path, trust)


def test_encrypted_files_are_loaded_by_their_key(tmp_path: Path) -> None:
    """An encrypted file needs its key; a pickle in it is one all the same; both checks go together."""
    key, other = generate_key(tmp_path / "one.key"), generate_key(tmp_path / "two.key")
    private, public = generate_signing_keys(tmp_path / "a.pem", tmp_path / "b.pem")
    skops.io.dump(MODEL, tmp_path / "model.skops")
    path = encrypt(tmp_path / "model.skops", key=key)
    with pytest.raises(ModelFileError, match="is encrypted: give its key"):
        load_model(path, Trust())
    with pytest.raises(IntegrityError, match="key or passphrase is wrong"):
        load_model(path, Trust(key=other))
    assert answers(path, Trust(key=key))
    with pytest.raises(IntegrityError, match="has no signature"):
        load_model(path, Trust(key=key, verify_key=public))
    sign(path, private)
    assert answers(path, Trust(key=key, verify_key=public))
    joblib.dump(MODEL, tmp_path / "model.joblib")
    hidden = encrypt(tmp_path / "model.joblib", key=key)
    with pytest.raises(ModelFileError, match="can run any code"):
        load_model(hidden, Trust(key=key))
    assert answers(hidden, Trust([hidden], key=key))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.skops", b"", "model.skops cannot be loaded: BadZipFile"),
        ("model.skops", b"x" * 100, "model.skops cannot be loaded: BadZipFile"),
        ("model.joblib", b"", "model.joblib cannot be loaded: EOFError"),
        ("model.joblib", pickle.dumps(5), "int has none of the methods"),
        ("model.txt", b"", "is of no known kind. A model file ends in .joblib, .pkl, .pickle, .skops, .onnx"),
        ("model", b"", "is of no known kind"),
    ],
)
def test_what_holds_no_model_is_an_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """A file that is damaged, or of another kind, is named, with the reason."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        load_model(tmp_path / name, Trust([tmp_path]))


def test_without_a_library_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where skops or ONNX Runtime is missing, the error says how to install it."""
    for name, module, extra in (("model.skops", "skops.io", "skops"), ("model.onnx", "onnxruntime", "onnx")):
        (tmp_path / name).write_bytes(b"")
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=rf'pip install "skbig\[{extra}\]"'):
            load_model(tmp_path / name, Trust())


def test_folders_hold_models_and_their_versions(tmp_path: Path) -> None:
    """Files, folders of versions, and folders of both are models by their names."""
    files = ["iris.skops", "notes.txt", ".hidden.skops", "houses/1/model.onnx", "houses/12/model.skops", "empty/x/y"]
    files += [
        "houses/2/notes.txt",
        "houses/draft/model.skops",
        "cars/3/model.joblib.enc",
        "cars/3/model.joblib.enc.sig",
    ]
    for name in files:
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    models = tmp_path / "models"

    def found(*paths: Path, name: str | None = None) -> list[tuple[str, int, str]]:
        return [(file.name, file.version, str(file.path.relative_to(models))) for file in find_models(paths, name)]

    cars = [("cars", 3, "cars/3/model.joblib.enc")]
    houses = [("houses", 1, "houses/1/model.onnx"), ("houses", 12, "houses/12/model.skops")]
    iris = [("iris", 1, "iris.skops")]
    assert found(models) == cars + houses + iris
    assert found(models / "houses") == houses
    assert found(models / "houses", name="homes") == [("homes", version, path) for _, version, path in houses]
    assert found(models / "iris.skops", models / "cars") == cars + iris
    assert found(models / "cars" / "3" / "model.joblib.enc") == [("model", 1, "cars/3/model.joblib.enc")]
    assert found(models / "gone") == []
