"""Vectors of texts are those of the model, whatever they are computed with."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbig.pretrained.base as loaded_models
import skbig.pretrained.folders as folders
from skbig import BigGridSearchCV, BigMLPClassifier
from skbig.testing import tiny_image_model, tiny_text_model
from skbig.text import TextEncoder
from tests.pretrained.conftest import TEXTS

transformers = pytest.importorskip("transformers")

LABELS = ["good", "bad"] * 5


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_vectors_are_those_of_transformers(text_model: Path, pooling: str) -> None:
    """A vector is what the model gives for the text alone, pooled over its tokens."""
    model = transformers.AutoModel.from_pretrained(text_model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(text_model)
    pool = {"mean": lambda own: own.mean(0), "cls": lambda own: own[0], "max": lambda own: own.max(0).values}[pooling]
    with torch.no_grad():
        alone = [pool(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]) for text in TEXTS]
    vectors = TextEncoder(text_model, pooling=pooling, batch_size=3).fit_transform(TEXTS)
    np.testing.assert_allclose(vectors, torch.stack(alone).numpy(), atol=2e-6)


def test_a_vector_depends_on_its_own_text_only(text_model: Path) -> None:
    """The texts that are computed together change no more than the last bits."""
    encoder = TextEncoder(text_model).fit(TEXTS)
    whole = encoder.transform(TEXTS)
    np.testing.assert_allclose(encoder.transform(TEXTS[::-1])[::-1], whole, atol=2e-6)
    np.testing.assert_allclose(np.concatenate([encoder.transform([text]) for text in TEXTS]), whole, atol=2e-6)


@pytest.mark.parametrize(
    "X", [np.array(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS), pd.DataFrame({"text": TEXTS}), tuple(TEXTS)]
)
def test_texts_come_in_many_forms(text_model: Path, X: object) -> None:
    """A list, an array, a Series, a table with one column: the texts are the same."""
    expected = TextEncoder(text_model).fit_transform(TEXTS)
    np.testing.assert_array_equal(TextEncoder(text_model).fit_transform(X), expected)


def test_normalized_vectors_have_the_length_one(text_model: Path) -> None:
    """`normalize` leaves the direction."""
    plain, normal = (TextEncoder(text_model, normalize=on).fit_transform(TEXTS) for on in (False, True))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(normal, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_half_precision_halves_the_memory(text_model: Path) -> None:
    """float16 vectors are the float32 ones, rounded."""
    single, half = (TextEncoder(text_model, dtype=dtype).fit_transform(TEXTS) for dtype in ("float32", "float16"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, single.astype(np.float16))


def test_long_texts_are_cut_as_the_tokenizer_cuts_them(text_model: Path) -> None:
    """What is left of a long text is what stays of its tokens, with a warning that counts; or it is refused."""
    long = [*TEXTS, "good " * 100]
    with pytest.warns(
        UserWarning, match=r"1 of the texts in X have more tokens than max_length=64; .* row 10 with 102"
    ):
        cut = TextEncoder(text_model).fit(long).transform(long)
    np.testing.assert_allclose(cut[-1], TextEncoder(text_model).fit_transform(["good " * 62])[0], atol=2e-6)
    quiet = TextEncoder(text_model, too_long="cut", max_length=5).fit_transform(["a good day it was"])
    np.testing.assert_allclose(quiet, TextEncoder(text_model).fit_transform(["a good day"]), atol=2e-6)
    with pytest.raises(ValueError, match="too_long='cut'"):
        TextEncoder(text_model, too_long="raise").fit_transform(long)
    with pytest.raises(ValueError, match="max_length=65, and the model in .* takes at most 64"):
        TextEncoder(text_model, max_length=65).fit(TEXTS)
    with pytest.raises(ValueError, match="max_length=2 leaves no place for a text: .* 2 tokens"):
        TextEncoder(text_model, max_length=2).fit(TEXTS)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("one text", "Put it in a list"),
        ([], "at least one text"),
        (["good", ""], "Row 1 of X is an empty text"),
        (["good", " \n"], "Row 1 of X is an empty text"),
        (["good", None], "Row 1 of X must be a text, a str. Got None .*fillna"),
        (["good", float("nan")], "Row 1 of X must be a text"),
        (["good", 3], "Row 1 of X must be a text, a str. Got 3 of type int"),
        ([b"good"], "Decode them"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "row 0 has 2 values"),
        (["good", "\ud800"], "Row 1 of X holds half a character"),
        (3, "must be a list of texts, and is a int"),
    ],
)
def test_what_is_no_text_is_named(text_model: Path, X: object, message: str) -> None:
    """Bad rows are refused by `fit` and by `transform`, with what to do."""
    with pytest.raises(ValueError, match=message):
        TextEncoder(text_model).fit(X)
    with pytest.raises(ValueError, match=message):
        TextEncoder(text_model).fit(TEXTS).transform(X)


@pytest.mark.parametrize("parameter", [{"pooling": "sum"}, {"batch_size": 0}, {"dtype": "float64"}, {"too_long": 1}])
def test_wrong_parameters_are_named(text_model: Path, parameter: dict[str, object]) -> None:
    """A parameter out of its range is refused by `fit`."""
    with pytest.raises(ValueError, match=f"The '{next(iter(parameter))}' parameter of TextEncoder must be"):
        TextEncoder(text_model, **parameter).fit(TEXTS)


def test_a_model_that_is_not_there_is_looked_for_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name the folders; nothing is downloaded for a path, nor where it is forbidden."""

    def asked(*names: object, local_files_only: bool = False, **options: object) -> str:
        assert local_files_only
        raise OSError("not in the cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    for path in (str(tmp_path / "none"), "./none", tmp_path / "none"):
        with pytest.raises(ValueError, match="there is no folder /.*none"):
            TextEncoder(path).fit(TEXTS)
    with pytest.raises(ValueError, match="none for this name in the hub's cache .*local_files_only=True"):
        TextEncoder("someone/something", local_files_only=True).fit(TEXTS)
    with pytest.raises(ValueError, match="The 'model' parameter of TextEncoder must be"):
        TextEncoder().fit(TEXTS)


def test_a_name_of_the_hub_is_downloaded_if_it_must(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the cache is asked, and then the hub; what fails there is told."""
    calls: list[bool] = []

    def snapshot(name: str, *, local_files_only: bool = False, allow_patterns: list[str]) -> str:
        calls.append(local_files_only)
        assert "*.bin" not in allow_patterns
        if name == "some/model" and not local_files_only:
            return str(text_model)
        raise OSError("no such model")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert TextEncoder("some/model").fit(TEXTS).folder_ == str(text_model)
    assert calls == [True, False]
    with pytest.raises(ValueError, match="downloading failed, too: OSError: no such model"):
        TextEncoder("another/model").fit(TEXTS)


def test_folders_that_hold_no_whole_model_are_refused(text_model: Path, tmp_path: Path) -> None:
    """A pickle, missing weights, the tokenizer of another model: each has its sentence."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no \*.safetensors file.*pytorch_model.bin is a pickle"):
        TextEncoder(tmp_path).fit(TEXTS)
    deeper = shutil.copytree(text_model, tmp_path / "deeper")
    described = json.loads((deeper / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps(described | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match="lacks the weights .*encoder.layer.2"):
        TextEncoder(deeper).fit(TEXTS)
    other = shutil.copytree(text_model, tmp_path / "other")
    longer = tiny_text_model(tmp_path / "longer", [f"{text} {i} {chr(97 + i)}" for i, text in enumerate(TEXTS)])
    shutil.copy(longer / "tokenizer.json", other / "tokenizer.json")
    with pytest.raises(ValueError, match="tokenizer in .* is that of another model"):
        TextEncoder(other).fit(TEXTS)
    none = shutil.copytree(text_model, tmp_path / "none")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (none / name).unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        TextEncoder(none).fit(TEXTS)
    with pytest.raises(ValueError):
        TextEncoder(tiny_image_model(tmp_path / "images")).fit(TEXTS)


def test_a_pickle_holds_no_weights(text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the model where it was, says where that is, and refuses another one in its place."""
    folder = shutil.copytree(text_model, tmp_path / "model")
    encoder = TextEncoder(folder).fit(TEXTS)
    expected, file = encoder.transform(TEXTS), pickle.dumps(encoder)
    assert len(file) < 2000
    np.testing.assert_array_equal(pickle.loads(file).transform(TEXTS), expected)
    moved = folder.rename(tmp_path / "moved")
    again = pickle.loads(file)
    with pytest.raises(ValueError, match=f"is expected in {folder}, which does not exist"):
        again.transform(TEXTS)
    np.testing.assert_array_equal(again.set_params(model=moved).transform(TEXTS), expected)
    tiny_text_model(folder, TEXTS, random_state=1)
    with pytest.raises(ValueError, match="holds another model, or another tokenizer"):
        pickle.loads(file).transform(TEXTS)


def test_vectors_are_found_again_by_what_they_were_made_of(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call reads from disk; another text, or another parameter, is another call."""
    count = []
    original = TextEncoder._vectors
    monkeypatch.setattr(TextEncoder, "_vectors", lambda self, *given: count.append(1) or original(self, *given))
    cache = tmp_path / "cache"
    first = TextEncoder(text_model, cache=cache).fit_transform(TEXTS)
    again = TextEncoder(text_model, cache=joblib.Memory(cache, verbose=0)).fit_transform(TEXTS)
    np.testing.assert_array_equal(first, again)
    assert len(count) == 1
    assert cache.stat().st_mode & 0o077 == 0
    TextEncoder(text_model, cache=cache, pooling="max").fit_transform(TEXTS)
    TextEncoder(text_model, cache=cache).fit_transform([*TEXTS[:-1], "bad"])
    assert len(count) == 3
    with monkeypatch.context() as patched, pytest.raises(ValueError, match="a folder of another user"):
        patched.setattr("os.getuid", lambda: cache.stat().st_uid + 1)
        TextEncoder(text_model, cache=cache).fit_transform(TEXTS)
    cache.chmod(0o777)
    with pytest.raises(ValueError, match="others can write into"):
        TextEncoder(text_model, cache=cache).fit_transform(TEXTS)


def test_a_table_of_vectors_is_a_model(text_model: Path, tmp_path: Path) -> None:
    """A folder with a tokenizer and one matrix gives the mean of its rows for a text's tokens."""
    from safetensors.torch import save_file

    shutil.copy(text_model / "tokenizer.json", tmp_path)
    shutil.copy(text_model / "tokenizer_config.json", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    table = torch.randn(len(tokenizer), 5, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings": table}, tmp_path / "model.safetensors")
    vectors = TextEncoder(tmp_path).fit_transform(TEXTS)
    expected = [table[tokenizer(text)["input_ids"]].mean(0) for text in TEXTS]
    np.testing.assert_allclose(vectors, torch.stack(expected).numpy(), atol=1e-6)
    encoder = TextEncoder(text_model).fit(TEXTS)
    with pytest.raises(ValueError, match="Use pooling='mean'"):
        encoder.set_params(model=tmp_path, pooling="cls").fit(TEXTS)
    assert encoder.max_length_ == 64  # what is refused leaves the fitted one as it was
    save_file({"embeddings": table, "more": table[:2].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="must be one table with a vector for each token"):
        TextEncoder(tmp_path).fit(TEXTS)


def test_texts_go_through_a_pipeline_and_a_search(text_model: Path) -> None:
    """Texts in, labels out; parameters of the encoder are searched with those of what follows."""
    network = BigMLPClassifier((8,), learning_rate=0.02, max_iter=60, schedule="cosine", random_state=0)
    model = make_pipeline(TextEncoder(text_model), StandardScaler(), network)
    grid = {"textencoder__pooling": ["mean", "max"], "bigmlpclassifier__alpha": [0.0, 0.01]}
    search = BigGridSearchCV(model, grid, cv=2).fit(TEXTS, LABELS)
    assert set(search.predict(TEXTS)) <= {"good", "bad"}
    assert model.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1.0
    names = model[0].get_feature_names_out()
    assert list(names[:2]) == ["textencoder0", "textencoder1"] and len(names) == 32


def test_nothing_is_said_and_nothing_moves(
    text_model: Path, unchanged_globals: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading a model prints nothing, draws nothing, and leaves the loggers and bars of others as they were."""
    monkeypatch.setattr(loaded_models, "_LOADED", type(loaded_models._LOADED)())
    monkeypatch.setattr(folders, "_KNOWN", {})
    shown = transformers.utils.logging
    before = (shown.get_verbosity(), shown.is_progress_bar_enabled())
    TextEncoder(text_model).fit_transform(TEXTS)
    assert (shown.get_verbosity(), shown.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_threads_share_a_model(text_model: Path) -> None:
    """Several threads at once get what one gets, also where texts are cut."""
    encoder = TextEncoder(text_model, max_length=6, too_long="cut").fit(TEXTS)
    expected = encoder.transform(TEXTS)
    for vectors in joblib.Parallel(4, backend="threading")(joblib.delayed(encoder.transform)(TEXTS) for _ in range(8)):
        np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_it_keeps_the_manners_of_scikit_learn(text_model: Path) -> None:
    """Parameters stay as they were given; an unfitted one says so; columns have names in a table."""
    encoder = TextEncoder(text_model)
    before = encoder.get_params()
    with pytest.raises(NotFittedError):
        encoder.transform(TEXTS)
    table = encoder.set_output(transform="pandas").fit_transform(pd.Series(TEXTS, index=range(7, 17)))
    assert list(table.columns[:2]) == ["textencoder0", "textencoder1"] and list(table.index) == list(range(7, 17))
    assert encoder.get_params() == before and encoder.model is text_model
    assert clone(encoder).get_params() == before and not hasattr(clone(encoder), "folder_")
