"""Hints lead from the words of other libraries to ours."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from typing import Any

import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import has_fit_parameter

import skbig
import skbig.components as components
from skbig import BigLinearClassifier, BigMLPClassifier, BigMLPRegressor, BigNetworkClassifier
from skbig._utils.component import names, resolve
from skbig.estimators import hints
from skbig.estimators.choices import resolve_choices
from skbig.estimators.declaration import declared, estimator, parameter
from skbig.estimators.hints import hint_for, hint_for_value

RENAMED = [
    *[(name, "max_iter") for name in ("n_epochs", "epochs", "max_epochs")],
    *[(name, "learning_rate") for name in ("lr", "learning_rate_init", "eta0", "eta", "lr0")],
    *[(name, "schedule") for name in ("lr_scheduler", "lr_sched", "learning_rate_schedule")],
    *[(name, "n_iter_no_change") for name in ("patience", "early_stopping_rounds")],
    *[(name, "validation_fraction") for name in ("val_fraction", "validation_split", "train_split")],
    *[(name, "random_state") for name in ("seed", "random_seed")],
    *[(name, "hidden_layer_sizes") for name in ("hidden_sizes", "layers", "hidden_layers", "units")],
    *[(name, "loss") for name in ("criterion", "objective")],
    *[(name, "n_members") for name in ("n_ens", "n_ensemble")],
    *[(name, "dropout") for name in ("dropout_rate", "p_drop")],
    *[(name, "alpha") for name in ("reg_lambda", "l2_regularization")],
    *[("solver", "optimizer"), ("verbosity", "verbose"), ("scale_pos_weight", "class_weight")],
]

INSTEAD = [
    *[(name, "AdamW(weight_decay=") for name in ("weight_decay", "wd")],
    *[("momentum", "SGD(momentum="), ("nesterovs_momentum", "nesterov=True")],
    *[(name, "Adam(betas=") for name in ("beta_1", "beta_2", "betas")],
    *[("epsilon", "Adam(eps="), ("power_t", "InvScaling(power_t="), ("max_fun", "LBFGS(max_fun=")],
    *[(name, "X_val=") for name in ("eval_set", "validation_data")],
    *[(name, "sample_weight_val=") for name in ("sample_weight_eval_set", "eval_sample_weight")],
    *[(name, "OneHotEncoder") for name in ("categorical_feature", "cat_features", "enable_categorical")],
    ("monotone_constraints", "monotonic_cst"),
    *[(name, "ClipNorm(max_norm=") for name in ("gradient_clip_val", "clip_grad_norm", "max_grad_norm", "clipnorm")],
    *[("clipvalue", "ClipValue(max_value="), ("label_smoothing", "LogLoss(label_smoothing=")],
    *[("l1_ratio", "ElasticNet(l1_ratio="), ("batch_norm", "normalization='batch'")],
    *[(name, "hidden_layer_sizes") for name in ("module", "model", "n_estimators", "max_depth")],
    *[("n_jobs", "torch.set_num_threads"), ("callbacks", "set_callbacks"), ("module__num_units", "perceptron")],
]

VALUES = [
    ("activation", "sigmoid", "logistic"),
    ("activation", "linear", "identity"),
    ("activation", "swish", "silu"),
    ("activation", torch.nn.ReLU, "relu"),
    ("activation", torch.nn.LeakyReLU(), "leaky_relu"),
    ("activation", torch.tanh, "tanh"),
    *[("loss", value, "squared_error") for value in ("mse", "mean_squared_error", "l2", torch.nn.MSELoss())],
    ("loss", "mae", "absolute_error"),
    *[("loss", value, "log_loss") for value in ("cross_entropy", "binary_crossentropy", "logloss", "Cross-Entropy")],
    ("penalty", "none", None),
    ("penalty", "L1", "l1"),
    ("optimizer", torch.optim.AdamW, "adamw"),
    ("optimizer", "L-BFGS", "lbfgs"),
    ("schedule", "ReduceLROnPlateau", "plateau"),
    ("schedule", None, "constant"),
    ("normalization", True, "batch"),
    ("normalization", "layer_norm", "layer"),
    ("batch_size", -1, "full"),
    ("batch_size", None, "full"),
    ("device", "gpu", "cuda"),
    ("device", 1, "cuda:1"),
    ("device", torch.device("cpu"), "cpu"),
    ("precision", "fp32", "float32"),
    ("precision", 32, "float32"),
    ("precision", torch.float64, "float64"),
    ("precision", "bf16-mixed", "bf16"),
    ("dropout", None, 0.0),
]

PARAMETERS = {*declared(BigMLPClassifier), *declared(BigMLPRegressor)}


@pytest.mark.parametrize(("name", "ours"), RENAMED)
def test_a_familiar_name_is_answered_with_ours(name: str, ours: str) -> None:
    """A name from another library is answered with the parameter that has its meaning here."""
    assert re.match(rf"{name!r} is called {ours} here\b", hint_for(name, PARAMETERS))


@pytest.mark.parametrize(("name", "ours"), INSTEAD)
def test_what_is_no_parameter_is_answered_with_where_it_went(name: str, ours: str) -> None:
    """A parameter that is a component's here, an argument of fit, or nothing, is answered with a sentence on that."""
    assert ours in hint_for(name, PARAMETERS)


@pytest.mark.parametrize("theirs", [MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor])
def test_every_parameter_of_scikit_learns_kin_is_known(theirs: Any) -> None:
    """Each parameter of the estimators that are converted is one here, or is answered with a hint."""
    silent = {name for name in theirs().get_params() if name not in PARAMETERS and not hint_for(name, PARAMETERS)}
    assert not silent


def test_a_misspelt_parameter_is_answered_with_the_nearest() -> None:
    """A slip of the pen is answered with the parameter that was meant."""
    assert [hint_for(name, PARAMETERS) for name in ("hidden_layer_size", "max_iters")] == [
        "Did you mean 'hidden_layer_sizes'?",
        "Did you mean 'max_iter'?",
    ]


def test_a_strange_name_is_answered_with_nothing() -> None:
    """Where nothing is known, nothing is guessed."""
    assert hint_for("zzyzx", PARAMETERS) == "" == hint_for_value("alpha", "zzyzx")


def test_nested_names_lead_to_the_component() -> None:
    """A nested name given to a constructor is answered by the component it belongs to."""
    assert "AdamW(weight_decay=" in hint_for("optimizer__weight_decay", PARAMETERS)
    assert "set_params(schedule__start=...)" in hint_for("schedule__start", PARAMETERS)


@pytest.mark.parametrize(("parameter", "value", "ours"), VALUES)
def test_a_familiar_value_is_answered_with_ours(parameter: str, value: Any, ours: Any) -> None:
    """A value from another library is answered with the one that has its meaning here."""
    assert hint_for_value(parameter, value).endswith(f" is {parameter}={ours!r} here.")


@pytest.mark.parametrize(("value", "schedule"), [("adaptive", "plateau"), ("constant", "constant")])
def test_a_schedule_in_place_of_the_rate_is_answered(value: str, schedule: str) -> None:
    """The schedule that scikit-learn calls learning_rate is answered with ours."""
    assert hint_for_value("learning_rate", value) == (
        f"learning_rate is a number here; use schedule={schedule!r} (and the rate goes into learning_rate)."
    )


@pytest.mark.parametrize(
    ("parameter", "value", "ours"),
    [
        ("optimizer", "cosine", "schedule='cosine'"),
        ("schedule", "adam", "optimizer='adam'"),
        ("loss", "relu", "activation='relu'"),
        ("alpha", "l1", "penalty='l1'"),
        ("penalty", components.ClipNorm(0.5), "clipping=ClipNorm(max_norm=0.5)"),
    ],
)
def test_a_component_in_the_wrong_place_is_answered_with_its_place(parameter: str, value: Any, ours: str) -> None:
    """A name or a component of one kind, given as another, is answered with the parameter it belongs to."""
    assert hint_for_value(parameter, value).endswith(f": use {ours}.")


@pytest.mark.parametrize("kind", ["optimizer", "schedule", "loss", "penalty", "clipping", "augmentation"])
def test_our_own_names_need_no_hint(kind: str) -> None:
    """A value that is right is answered with nothing."""
    assert {hint_for_value(kind, name) for name in names(kind)} == {""}


def test_numbers_are_answered_where_a_choice_is_asked_for() -> None:
    """A number of epochs for early_stopping, and a norm for clipping, are answered with where they belong."""
    assert "n_iter_no_change=50" in hint_for_value("early_stopping", 50)
    assert hint_for_value("clipping", 0.5) == "0.5 is clipping=ClipNorm(max_norm=0.5) here."


def test_no_word_has_two_meanings_nor_is_our_own() -> None:
    """A foreign word stands in one table once, and is no parameter of ours."""
    tables = [hints._RENAMED, hints._INSTEAD, hints._SENTENCES]
    words = [word for table in tables for group in table.values() for word in group.split()]
    assert len(words) == len({*words})
    assert not {*words} & {*PARAMETERS}


@pytest.mark.parametrize("name", sorted({*hints._RENAMED_BY_NAME, *hints._INSTEAD_BY_NAME}))
def test_what_a_hint_names_exists(name: str) -> None:
    """Parameters and components that a hint speaks of are there."""
    for owned, component, field in re.findall(r"(\w+)=(?:([A-Z]\w+)\((\w+)=)", hint_for(name, PARAMETERS)):
        assert owned in PARAMETERS
        owner = skbig if owned == "backend" else components
        assert field in inspect.signature(getattr(owner, component)).parameters
    if " is called " in hint_for(name, PARAMETERS):
        assert re.search(r"is called (\w+) here", hint_for(name, PARAMETERS))[1] in PARAMETERS


@pytest.mark.parametrize("parameter", sorted(hints._VALUES))
def test_the_values_that_hints_propose_are_legal(parameter: str) -> None:
    """What a hint says a value is here can be written in Python, and an estimator takes it."""
    for meaning in hints._VALUES[parameter]:
        known = {each: getattr(components, each) for each in components.__all__}
        value = eval(compile(ast.parse(meaning, mode="eval"), parameter, "eval"), known)
        for_classes = parameter != "loss" or resolve(components.Loss, value).for_classes
        resolve_choices((BigMLPClassifier if for_classes else BigMLPRegressor)(**{parameter: value}))


@estimator
class Estimator(BaseEstimator):
    max_iter: int = parameter(5, words="int", doc="Epochs.", kw_only=False)
    alpha: float = parameter(0.1, words="float", doc="Strength.")


def test_an_unknown_keyword_is_an_error_with_a_hint() -> None:
    """The error is Python's own, with the hint after it."""
    with pytest.raises(TypeError) as error:
        Estimator(n_epochs=3)  # type: ignore[call-arg]
    told, hint = str(error.value).split(". ")
    assert told == "Estimator.__init__() got an unexpected keyword argument 'n_epochs'"
    assert hint == "'n_epochs' is called max_iter here (epochs)."


def test_an_unknown_keyword_without_a_hint_reads_as_in_python() -> None:
    """Where there is no hint the message ends with Python's."""
    with pytest.raises(TypeError, match=r"Estimator\.__init__\(\) got an unexpected keyword argument 'zzyzx'\.$"):
        Estimator(zzyzx=3)  # type: ignore[call-arg]


def test_too_many_arguments_stay_pythons_error() -> None:
    """What is not an unknown keyword is left to Python."""
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        Estimator(1, 2)  # type: ignore[misc]


def test_scikit_learn_sees_the_signature() -> None:
    """A hinting constructor is introspected, cloned and set as any other."""
    estimator = Estimator(7, alpha=0.5)
    assert list(inspect.signature(Estimator).parameters) == ["max_iter", "alpha"]
    assert clone(estimator).get_params() == {"max_iter": 7, "alpha": 0.5}
    assert estimator.set_params(alpha=1.0).alpha == 1.0


@pytest.mark.parametrize("estimator", [BigMLPClassifier, BigMLPRegressor])
def test_the_estimators_hint(estimator: Any) -> None:
    """The constructors of the estimators answer with hints."""
    with pytest.raises(TypeError, match=rf"{estimator.__name__}.*'lr'\. 'lr' is called learning_rate here\."):
        estimator(lr=0.1)


ARGUMENTS = [
    ("eval_set", "fit(X, y, X_val=..., y_val=...)"),
    ("validation_data", "fit(X, y, X_val=..., y_val=...)"),
    ("eval_metric", "'eval_metric' is called scoring here. It is given to the estimator: {owner}(...)."),
    ("callbacks", "set_callbacks(...)"),
    ("epochs", "'epochs' is called max_iter here (epochs). It is given to the estimator: {owner}(...)."),
    ("verbose", "It is a parameter of the estimator: {owner}(verbose=...)."),
    ("weight_decay", "AdamW(weight_decay=...). It is given to the estimator: {owner}(...)."),
    ("sample_weights", "fit(X, y, sample_weight=...)"),
    ("X_vall", "Did you mean 'X_val'?"),
]


@pytest.mark.parametrize("owner", [BigMLPClassifier, BigMLPRegressor])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "answer"), ARGUMENTS)
def test_an_argument_of_fit_elsewhere_is_answered_with_its_place(
    owner: Any, method: str, name: str, answer: str
) -> None:
    """What other libraries give to fit is answered with where it goes here, and nothing is trained."""
    model = owner()
    with pytest.raises(TypeError) as error:
        getattr(model, method)([[0.0]], [0.0], **{name: 1})
    start = f"{owner.__name__}.{method}() got an unexpected keyword argument {name!r}. "
    assert str(error.value).startswith(start)
    assert answer.format(owner=owner.__name__) in str(error.value)
    assert vars(model) == vars(owner())


def test_an_argument_that_nobody_knows_reads_as_in_python() -> None:
    """Where nothing is known, the message ends with Python's."""
    with pytest.raises(TypeError, match=r"BigMLPRegressor\.fit\(\) got an unexpected keyword argument 'zzyzx'\.$"):
        BigMLPRegressor().fit([[0.0]], [0.0], zzyzx=1)


def test_scikit_learn_sees_the_signature_of_fit() -> None:
    """A hinting method is introspected as any other."""
    assert list(inspect.signature(BigMLPRegressor.fit).parameters)[:4] == ["self", "X", "y", "sample_weight"]
    assert has_fit_parameter(BigMLPClassifier(), "sample_weight")


@pytest.mark.parametrize("name", sorted(hints._ATTRIBUTES_BY_NAME))
def test_an_attribute_of_others_is_answered_with_ours(name: str) -> None:
    """What a model of another library has is answered with what a model has here, and is not there."""
    model = BigMLPClassifier()
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=rf"^'BigMLPClassifier' object has no attribute '{name}'\. [A-Zes]"):
        getattr(model, name)


def test_other_attributes_that_are_missing_read_as_in_python() -> None:
    """A name that nobody has, and a method that the loss rules out, keep the errors that they have."""
    with pytest.raises(AttributeError, match=r"^'BigMLPClassifier' object has no attribute 'zzyzx'$"):
        BigMLPClassifier().zzyzx  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as error:
        BigMLPClassifier(loss="hinge").predict_proba  # noqa: B018
    assert "loss='hinge'" in str(error.value.__cause__)
    assert pickle.loads(pickle.dumps(BigMLPClassifier())).get_params() == BigMLPClassifier().get_params()


def test_attributes_that_a_hint_names_exist() -> None:
    """What a hint says a fitted model has is there."""
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    model = BigMLPClassifier((2,), max_iter=1, schedule="cosine", early_stopping=True, validation_fraction=0.5)
    others = [BigLinearClassifier(max_iter=1, schedule="cosine"), BigNetworkClassifier(max_iter=1, schedule="cosine")]
    models = [each.fit(X, y) for each in (model, *others)]
    names = {name for text in hints._ATTRIBUTES for name in re.findall(r"\b[a-z]\w*_\b", text)}
    assert names
    for name in names:
        assert any(hasattr(each, name) for each in models), name
