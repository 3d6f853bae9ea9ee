"""Fine-tuning as an estimator: the numbers are those of torch and of peft, alone, in a stack, and in parts."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

import skbig.text.vectors as vectors_of_texts
from skbig import DDP, BigGridSearchCV, save_weights
from skbig.components import DPSGD, AdamW
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.exceptions import ExportError
from skbig.testing import tiny_text_model
from skbig.text import BigTextClassifier, BigTextRegressor, TextEncoder
from skbig.text.adapters import SharedBase, adapted_layers
from skbig.text.networks import LoraLayer
from tests.killing import Died
from tests.pretrained.conftest import TEXTS

transformers = pytest.importorskip("transformers")

LABELS = np.array(["good", "bad"] * 5)
STARS = np.array([5.0, 1.0] * 5)
SMALL: dict[str, Any] = {"random_state": 0, "max_iter": 3, "batch_size": 4, "learning_rate": 0.01}
EXACT: dict[str, Any] = {**SMALL, "precision": "float64"}
TUNINGS = ("head", "lora", "full")


@pytest.fixture(scope="module")
def calm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without dropout."""
    folder = tiny_text_model(tmp_path_factory.mktemp("calm"), TEXTS)
    described = json.loads((folder / "config.json").read_text())
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(described | calm))
    return folder


@pytest.mark.parametrize("tune", TUNINGS)
def test_texts_are_learnt(text_model: Path, tune: str) -> None:
    """Each way of tuning learns what is to be seen, and keeps it in a pickle."""
    rates = {"head": 0.1, "lora": 0.01, "full": 0.003}
    model = BigTextClassifier(text_model, tune=tune, **{**SMALL, "learning_rate": rates[tune], "max_iter": 40})
    model.fit(TEXTS, LABELS)
    assert model.score(TEXTS, LABELS) == 1.0
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), probabilities)
    assert set(model.weights_) >= {"head.weight", "head.bias"}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_head_is_trained_privately(text_model: Path, dropout: float) -> None:
    """A head spends what it is told to, with dropout, too; what is within the model is refused, and says why."""
    settings: dict[str, Any] = {**EXACT, "privacy": DPSGD(noise_multiplier=0.5, max_grad_norm=0.1, delta=1e-3)}
    model = BigTextClassifier(text_model, tune="head", dropout=dropout, **settings)
    model.fit(TEXTS, LABELS)
    assert model._ledger["spent"] == [[0.5, 0.4, 9]]
    assert np.isfinite(model.predict_proba(TEXTS)).all()
    for tune in ("lora", "full"):
        with pytest.raises(ValueError, match="gradients of single rows are needed, .* tune='head'"):
            clone(model).set_params(tune=tune).fit(TEXTS, LABELS)


def reference(calm_model: Path, ours: BigTextClassifier, wrap: Any, steps: int) -> tuple[nn.Module, nn.Linear]:
    """Train a model of transformers by torch's AdamW on the whole set, from our first numbers."""
    base = transformers.AutoModel.from_pretrained(calm_model).double()
    tokens = transformers.AutoTokenizer.from_pretrained(calm_model)(TEXTS, return_tensors="pt", padding=True)
    network, head = wrap(base), nn.Linear(32, 1).double()
    first = ours._network.first_values([0])
    head.weight.data = torch.from_numpy(first["head.weight"][0].T.copy()).double()
    head.bias.data = torch.zeros(1).double()
    trained = [*(each for each in network.parameters() if each.requires_grad), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0)
    y = torch.tensor(ours.classes_[1] == LABELS).double()
    mask = tokens["attention_mask"].unsqueeze(-1)
    for _ in range(steps):
        states = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        raw = head((states * mask).sum(1) / mask.sum(1))[:, 0]
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(raw, y).backward()
        optimizer.step()
    return network, head


PLAIN: dict[str, Any] = {
    **EXACT,
    "batch_size": "full",
    "schedule": "constant",
    "clipping": None,
    "dropout": 0.0,
    "optimizer": AdamW(weight_decay=0.0),
    "tol": 0.0,
}


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # no schedule, so that it is as plain as theirs
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft
def test_adapters_are_those_of_peft(calm_model: Path) -> None:
    """The same first adapters, trained by peft and torch, come to the same numbers."""
    peft = pytest.importorskip("peft")
    ours = BigTextClassifier(calm_model, **PLAIN, lora_rank=3, lora_alpha=5.0)
    ours.fit(TEXTS, LABELS)
    first = ours._network.first_values([0])

    def wrap(base: nn.Module) -> nn.Module:
        config = peft.LoraConfig(r=3, lora_alpha=5.0, target_modules=["query", "value"])
        network = peft.get_peft_model(base, config)
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                own = name.removeprefix("base_model.model.").replace(".default.weight", "")
                parameter.data = torch.from_numpy(first[own][0].T.copy()).double()
        return network

    theirs, head = reference(calm_model, ours, wrap, ours.n_iter_)
    trained = {name: value for name, value in theirs.named_parameters() if "lora_" in name}
    assert len(trained) == 8
    for name, value in trained.items():
        own = name.removeprefix("base_model.model.").replace(".default.weight", "")
        np.testing.assert_allclose(ours.weights_[own], value.detach().numpy().T, atol=1e-7)
        assert "lora_B" not in own or np.abs(ours.weights_[own]).max() > 0.01
    np.testing.assert_allclose(ours.weights_["head.weight"], head.weight.detach().numpy().T, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # no schedule, so that it is as plain as theirs
def test_full_tuning_is_that_of_torch(calm_model: Path) -> None:
    """All weights, trained by our loop, are those that a loop over transformers' own model comes to."""
    ours = BigTextClassifier(calm_model, tune="full", **PLAIN).fit(TEXTS, LABELS)
    theirs, head = reference(calm_model, ours, lambda base: base, ours.n_iter_)
    names = [name for name, _ in theirs.named_parameters() if not name.startswith("pooler.")]
    assert {f"base.{name}" for name in names} | {"head.weight", "head.bias"} == set(ours.weights_)
    for name in names:
        if "key.bias" not in name:  # softmax does not feel it: its gradient is rounding alone
            value = theirs.get_parameter(name).detach().numpy()
            np.testing.assert_allclose(ours.weights_[f"base.{name}"], value, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.weights_["head.weight"], head.weight.detach().numpy().T, atol=1e-6)


def test_a_head_reads_the_vectors_of_the_encoder(text_model: Path) -> None:
    """tune='head' is a linear model of what TextEncoder makes."""
    model = BigTextClassifier(text_model, tune="head", **SMALL).fit(TEXTS, LABELS)
    vectors = TextEncoder(text_model).fit_transform(TEXTS)
    raw = vectors @ model.weights_["head.weight"] + model.weights_["head.bias"]
    np.testing.assert_allclose(model.decision_function(TEXTS), raw[:, 0], rtol=1e-5)


@pytest.mark.parametrize("tune", TUNINGS)
def test_a_member_trains_the_same_alone_and_in_an_ensemble(text_model: Path, tune: str) -> None:
    """Also where texts of several lengths meet, and the model drops numbers at random."""
    ensemble = BigTextClassifier(text_model, tune=tune, **EXACT, n_members=3, lora_dropout=0.2).fit(TEXTS, LABELS)
    for m, seed in enumerate(ensemble._progress["seeds"]):
        alone = clone(ensemble).set_params(n_members=1, random_state=seed).fit(TEXTS, LABELS)
        for name, value in alone.weights_.items():
            np.testing.assert_allclose(ensemble.weights_[name][m], value, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_batch_in_parts_is_a_batch(text_model: Path, tune: str) -> None:
    """The gradients of parts add up to that of the whole, random numbers included."""
    whole = BigTextClassifier(text_model, tune=tune, **EXACT).fit(TEXTS, LABELS)
    parts = clone(whole).set_params(rows_at_once=1).fit(TEXTS, LABELS)
    for name, value in whole.weights_.items():
        np.testing.assert_allclose(parts.weights_[name], value, atol=1e-9, err_msg=name)


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # two are enough
def test_a_line_search_reads_its_rows_in_parts(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all rows no more are computed at once than are asked for; the result is the same."""
    seen: list[int] = []
    original = LoraLayer._vectors

    def watched(self: LoraLayer, tokens: Any, parameters: Any, training: Any) -> Any:
        if training is not None:
            seen.append(tokens.shape[1])
        return original(self, tokens, parameters, training)

    monkeypatch.setattr(LoraLayer, "_vectors", watched)
    searched = {"optimizer": "lbfgs", "clipping": None, "schedule": "constant", "batch_size": "full", "max_iter": 2}
    whole = BigTextClassifier(text_model, **{**EXACT, **searched}, tol=0.0)
    whole.fit(TEXTS, LABELS)
    assert max(seen) == len(TEXTS)
    seen.clear()
    parts = clone(whole).set_params(rows_at_once=4).fit(TEXTS, LABELS)
    assert max(seen) == 4
    for name, value in whole.weights_.items():
        np.testing.assert_allclose(parts.weights_[name], value, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("tune", TUNINGS)
def test_what_was_fitted_predicts(text_model: Path, tune: str) -> None:
    """Parameters that are changed after a fit change nothing until the next one, which begins anew."""
    model = BigTextClassifier(text_model, tune=tune, **SMALL).fit(TEXTS, LABELS)
    expected = model.predict_proba(TEXTS)
    for other in TUNINGS:
        model.set_params(tune=other, pooling="max")
        np.testing.assert_array_equal(model.predict_proba(TEXTS), expected)
        again = pickle.loads(pickle.dumps(model)).fit(TEXTS, LABELS, X_val=TEXTS, y_val=LABELS)
        fresh = clone(model).fit(TEXTS, LABELS)
        np.testing.assert_array_equal(again.predict_proba(TEXTS), fresh.predict_proba(TEXTS))


def test_a_model_with_places_for_adapters_goes_at_once(text_model: Path) -> None:
    """Nothing but its user holds it, so that the memory of a device is free when the user lets go."""
    network = transformers.AutoModel.from_pretrained(text_model)
    layers = adapted_layers(network, None)
    shared = SharedBase(network, layers)
    held = [weakref.ref(each) for each in (shared._training, shared._predicting.get_submodule(layers[0]))]
    gc.collect()
    gc.disable()
    try:
        del shared
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


def test_vectors_are_kept_up_to_a_size(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts are read once, where their vectors are no larger than what is kept."""
    calls: list[int] = []
    make = vectors_of_texts._made
    monkeypatch.setattr(vectors_of_texts, "_made", lambda *given: calls.append(1) or make(*given))
    for size, n_calls in ((2**28, 1), (1, 2)):
        monkeypatch.setattr(vectors_of_texts, "_KEPT", OrderedDict())
        monkeypatch.setattr(vectors_of_texts, "KEPT_BYTES", size)
        calls.clear()
        for _ in range(2):
            BigTextClassifier(text_model, tune="head", **SMALL).fit(TEXTS, LABELS)
        assert len(calls) == n_calls


def test_a_search_trains_adapters_as_one(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates share the base and go through it together, with the scores of scikit-learn's search."""
    seen: list[int] = []
    original = LoraLayer._vectors

    def watched(self: LoraLayer, tokens: Any, parameters: Any, training: Any) -> Any:
        seen.append(len(tokens))
        return original(self, tokens, parameters, training)

    monkeypatch.setattr(LoraLayer, "_vectors", watched)
    monkeypatch.setattr("skbig.search.stack_planning.LARGE_STEP", 10**9)
    monkeypatch.setattr("skbig.search.stack_planning.WORK_OF_STACK", 10**10)
    grid = {"learning_rate": [0.003, 0.01], "lora_alpha": [4.0, 16.0], "dropout": [0.0, 0.2]}
    model = BigTextClassifier(text_model, **EXACT, max_length=16)
    ours = BigGridSearchCV(model, grid, cv=2, scoring="neg_log_loss", refit=False).fit(TEXTS, LABELS)
    assert max(seen) >= 8
    theirs = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss", refit=False).fit(TEXTS, LABELS)
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-7)


@pytest.mark.parametrize("tune", TUNINGS)
def test_the_ways_of_all_estimators_are_open(text_model: Path, tune: str) -> None:
    """Weights, several labels, validation texts, early stopping, warm start and single epochs."""
    model = BigTextClassifier(text_model, tune=tune, **SMALL)
    weighted = clone(model).fit(TEXTS, LABELS, sample_weight=[2.0, 1.0] * 5)
    balanced = clone(model).set_params(class_weight={"good": 2.0, "bad": 1.0}).fit(TEXTS, LABELS)
    for name, value in weighted.weights_.items():
        np.testing.assert_allclose(balanced.weights_[name], value, atol=1e-6)
    stopping = clone(model).set_params(early_stopping=True, scoring=["loss", "accuracy"])
    stopping.fit(pd.Series(TEXTS), LABELS, X_val=TEXTS[:4], y_val=LABELS[:4])
    assert len(stopping.validation_loss_curve_) == stopping.n_iter_
    held = clone(model).set_params(early_stopping=True, validation_fraction=0.3).fit(TEXTS, LABELS)
    assert held.validation_loss_curve_
    several = np.array([[1, 0], [0, 1]] * 5)
    assert clone(model).fit(TEXTS, several).predict_proba(TEXTS).shape == (10, 2)
    single = clone(model).partial_fit(TEXTS, LABELS, classes=["bad", "good"]).partial_fit(TEXTS[:4], LABELS[:4])
    assert single.t_ == 14
    warm = clone(model).set_params(warm_start=True).fit(TEXTS, LABELS)
    assert warm.fit(TEXTS, LABELS).n_iter_ == SMALL["max_iter"]


def test_numbers_are_predicted_from_texts(text_model: Path) -> None:
    """The regressor has a target in any unit, and several of them."""
    asked = {**SMALL, "tune": "full", "learning_rate": 0.003, "max_iter": 40, "standardize_target": True}
    model = BigTextRegressor(text_model, **asked).fit(TEXTS, 100.0 * STARS)
    assert model.score(TEXTS, 100.0 * STARS) > 0.8
    two = clone(model).fit(TEXTS, np.stack([STARS, -STARS], 1))
    assert two.predict(TEXTS).shape == (10, 2)


def test_a_killed_fit_goes_on_to_the_same_bits(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a checkpoint holds is all that training needs."""
    model = BigTextClassifier(text_model, **SMALL)
    whole = clone(model).fit(TEXTS, LABELS)

    saving = clone(model).set_params(checkpoint_dir=tmp_path, checkpoint_every=1)
    epochs: list[int] = []
    run = MiniBatchEpochs.run

    def dying(self: MiniBatchEpochs) -> Any:
        epochs.append(1)
        if len(epochs) == 3:
            raise Died
        return run(self)

    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(MiniBatchEpochs, "run", dying)
        clone(saving).fit(TEXTS, LABELS)
    with monkeypatch.context() as patched:
        patched.setattr(MiniBatchEpochs, "run", lambda self: epochs.append(1) or run(self))
        saving.fit(TEXTS, LABELS)
    assert len(epochs) == 4  # of three, one is left
    for name, value in whole.weights_.items():
        np.testing.assert_array_equal(saving.weights_[name], value)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_pickle_holds_no_base(text_model: Path, tmp_path: Path, tune: str) -> None:
    """It finds the model, says where it is expected, and refuses another one."""
    folder = shutil.copytree(text_model, tmp_path / "model")
    model = BigTextClassifier(folder, tune=tune, **SMALL).fit(TEXTS, LABELS)
    expected, file = model.predict_proba(TEXTS), pickle.dumps(model)
    assert "state" not in pickle.loads(file)._progress or not pickle.loads(file)._progress["state"]
    moved = folder.rename(tmp_path / "moved")
    again = pickle.loads(file)
    with pytest.raises(ValueError, match=f"is expected in {folder}, which does not exist"):
        again.predict(TEXTS)
    np.testing.assert_array_equal(again.set_params(model=moved).predict_proba(TEXTS), expected)
    again.partial_fit(TEXTS, LABELS)
    tiny_text_model(folder, TEXTS, random_state=1)
    with pytest.raises(ValueError, match="holds another model, or another tokenizer"):
        pickle.loads(file).predict(TEXTS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": None}, "The 'model' parameter of BigTextClassifier must be"),
        ({"model": "./none"}, "there is no folder"),
        ({"tune": "some"}, "The 'tune' parameter of BigTextClassifier must be one of"),
        ({"lora_rank": 0}, "The 'lora_rank' parameter"),
        ({"lora_alpha": -1.0}, "The 'lora_alpha' parameter"),
        ({"lora_targets": ["nothing"]}, "'nothing' of the 'lora_targets' parameter matches no linear layer.*'dense'"),
        ({"dropout": 1.0}, "The 'dropout' parameter"),
        ({"max_length": 65}, "takes at most 64 tokens"),
        ({"rows_at_once": 2, "backend": "ddp"}, "rows_at_once must be None"),
        ({"rows_at_once": 2, "tune": "head", "augmentation": "mixup"}, "mixes rows of a whole batch, so rows_at_once"),
        ({"max_length": 1}, "max_length=1 leaves no place for a text"),
        ({"backend": "fsdp"}, "a pretrained model is kept whole. Use backend='ddp'"),
        ({"max_iter": 0}, "The 'max_iter' parameter"),
    ],
)
def test_wrong_parameters_are_named(text_model: Path, parameters: dict[str, Any], message: str) -> None:
    """A parameter out of its range is refused by `fit`, and leaves an unfitted estimator."""
    model = BigTextClassifier(text_model).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(TEXTS, LABELS)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_texts_and_labels_are_checked(text_model: Path) -> None:
    """Bad rows are named, in training, in validation and in prediction; a fitted model stays as it was."""
    model = BigTextClassifier(text_model, tune="head", **SMALL).fit(TEXTS, LABELS)
    expected = model.predict_proba(TEXTS)
    for fails, message in (
        (lambda: model.fit(["a", ""], ["x", "y"]), "Row 1 of X is an empty text"),
        (lambda: model.fit(TEXTS, LABELS, X_val=["a", None], y_val=["good", "bad"]), "Row 1 of X_val must be a text"),
        (lambda: model.fit(TEXTS, LABELS[:3]), "inconsistent numbers of samples"),
        (lambda: model.fit(TEXTS, None), "requires y"),
        (lambda: model.predict("a text"), "Put it in a list"),
        (lambda: model.predict(np.zeros((2, 3))), "Row 0|row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            fails()
    np.testing.assert_array_equal(model.predict_proba(TEXTS), expected)


def test_several_processes_train_what_one_does(text_model: Path) -> None:
    """Each reads a part of every batch, and so texts of other lengths: the numbers are the same."""
    one = BigTextClassifier(text_model, **EXACT).fit(TEXTS, LABELS)
    two = clone(one).set_params(backend=DDP(2)).fit(TEXTS, LABELS)
    for name, value in one.weights_.items():
        np.testing.assert_allclose(two.weights_[name], value, atol=1e-12, err_msg=name)


def test_what_a_model_of_texts_cannot_become_is_said(text_model: Path, tmp_path: Path) -> None:
    """The ways out for networks of numbers are closed, with a sentence."""
    model = BigTextClassifier(text_model, tune="head", **SMALL).fit(TEXTS, LABELS)
    for leave in (model.to_torch, model.to_sklearn, model.predictor):
        with pytest.raises(ExportError, match="reads texts by a pretrained model"):
            leave()
    with pytest.raises(TypeError, match="Use joblib.dump"):
        save_weights(model, tmp_path / "weights.safetensors")


@pytest.mark.parametrize("tune", TUNINGS)
def test_nothing_moves(text_model: Path, unchanged_globals: None, capfd: pytest.CaptureFixture[str], tune: str) -> None:
    """A fit draws from no global generator, and prints nothing."""
    BigTextClassifier(text_model, tune=tune, **SMALL).fit(TEXTS, LABELS).predict(TEXTS)
    assert capfd.readouterr() == ("", "")


def test_the_base_is_not_changed(text_model: Path) -> None:
    """Whatever was trained over it, the shared model gives the vectors that it gave before."""
    before = TextEncoder(text_model).fit_transform(TEXTS)
    for tune in TUNINGS:
        BigTextClassifier(text_model, tune=tune, **SMALL).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(TextEncoder(text_model).fit_transform(TEXTS), before)
