"""From a net of skorch's to the estimator here that trains alike.

skorch itself is not imported: a net is known by its classes, and read by its parameters.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from skbig import components
from skbig.components import ClipNorm, Clipping, Loss, Optimizer, Schedule

if TYPE_CHECKING:
    from skbig.estimators.module import BigModuleClassifier, BigModuleRegressor

_OWN_CODE = (
    *("get_loss", "infer", "forward", "forward_iter", "evaluation_step", "validation_step", "train_step"),
    *("train_step_single", "run_single_epoch", "fit_loop", "get_iterator", "get_dataset", "get_split_datasets"),
    *("initialize_module", "initialize_criterion", "initialize_optimizer", "predict", "predict_proba", "check_data"),
)
"""Methods by which a subclass trains or predicts in a way of its own."""

_ONLY_WATCH = (
    *("EpochTimer", "PrintLog", "ProgressBar", "EpochScoring", "PassthroughScoring", "BatchScoring"),
    *("NeptuneLogger", "WandbLogger", "TensorBoard", "SacredLogger", "MlflowLogger"),
)
_WITHOUT_EFFECT = ("foreach", "fused", "capturable", "differentiable")  # ways to compute the same steps
_LOADER = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "timeout", "multiprocessing_context")


def from_skorch(net: Any) -> BigModuleClassifier | BigModuleRegressor:
    """Return the estimator that trains a module as a net of skorch's does.

    Parameters
    ----------
    net : NeuralNetClassifier, NeuralNetBinaryClassifier or NeuralNetRegressor
        It is not changed.

    Returns
    -------
    big : BigModuleClassifier or BigModuleRegressor
        Not fitted. With the same module and its parameters, and steps of the same loss, optimizer, rates, clipping and
        batches. If the net is initialized, its weights are the first ones.

    Raises
    ------
    TypeError
        When it is no such net.
    ValueError
        When a part of it has no equal here; the message says which, and what to do.

    Notes
    -----
    Where no callback stops early, no rows are held out: skorch's `train_split` holds out a fifth by default, only to
    show their score. Early stopping keeps the best weights. A cosine schedule moves with every step, and not epoch by
    epoch. The loss of several targets is the sum over them, which ``nn.MSELoss`` and the like divide by their number.
    What only shows the progress, as `PrintLog` and `EpochScoring`, is left out: see ``loss_curve_`` and `scoring`.

    Examples
    --------
    >>> from torch import nn
    >>> from skbig import from_skorch
    >>> from skorch import NeuralNetClassifier  # doctest: +SKIP
    >>> net = NeuralNetClassifier(nn.Linear(4, 3), criterion=nn.CrossEntropyLoss, lr=0.1)  # doctest: +SKIP
    >>> from_skorch(net)  # doctest: +SKIP
    BigModuleClassifier(module=Linear(in_features=4, out_features=3, bias=True), ...)
    """
    kinds = {kind.__name__ for kind in type(net).__mro__ if kind.__module__.startswith("skorch.")}
    for_classes = bool({"NeuralNetClassifier", "NeuralNetBinaryClassifier"} & kinds)
    if not for_classes and "NeuralNetRegressor" not in kinds:
        raise TypeError(
            "from_skorch takes a NeuralNetClassifier, NeuralNetBinaryClassifier or NeuralNetRegressor. Got "
            f"{net!r:.200} instead."
        )
    from skbig.estimators.module import BigModuleClassifier, BigModuleRegressor

    _check_code(net)
    given = _Given(net)
    big: Any = BigModuleClassifier if for_classes else BigModuleRegressor
    return big(**_parameters(given, for_classes))


class _Given:
    """The parameters of a net; which have been read, so that the others can be refused."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.rate = math.nan  # the optimizer says
        self._left = {name: value for name, value in vars(net).items() if "__" in name and not name.startswith("_")}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)

    def of(self, owner: str) -> dict[str, Any]:
        """Return the parameters ``owner__name`` by their names."""
        prefix = f"{owner}__"
        return {name.removeprefix(prefix): self._left.pop(name) for name in list(self._left) if name.startswith(prefix)}

    def callbacks(self) -> Iterator[Any]:
        """Yield the callbacks that the user has given."""
        changed = self.of("callbacks")
        unknown = [name for name, value in changed.items() if value is not None]
        if unknown:
            raise _refusal(f"callbacks__{unknown[0]}", "give the callback itself its parameters")
        every = [] if self.net.callbacks in (None, "disable") else self.net.callbacks
        for item in every:
            name, callback = item if isinstance(item, tuple) else (None, item)
            if name is None or name not in changed:
                yield callback() if isinstance(callback, type) else callback

    def check_read(self) -> None:
        if self._left:
            raise _refusal(next(iter(self._left)), "leave it out")


def _parameters(given: _Given, for_classes: bool) -> dict[str, Any]:
    loss, scale = _loss(given, for_classes)
    optimizer, rate, groups = _optimizer(given, scale)
    parameters: dict[str, Any] = {
        **_module(given),
        "loss": loss,
        "alpha": 0.0,
        "optimizer": optimizer,
        "learning_rate": rate,
        "param_groups": groups,
        **_batches(given),
        "max_iter": given.max_epochs,
        "n_iter_no_change": math.inf,
        "tol": 0.0,
        "warm_start": given.warm_start,
        "verbose": bool(given.verbose),
        "device": "auto" if given.device is None else str(given.device),
    }
    for callback in given.callbacks():
        parameters |= _of_callback(callback, given, scale)
    _check_rest(given)
    return parameters


def _module(given: _Given) -> dict[str, Any]:
    settings = {f"module__{name}": value for name, value in given.of("module").items()}
    module = given.module
    if isinstance(module, nn.Module) and settings:
        raise _refusal("module__...", "of an instance, change the instance")
    fitted = vars(given.net).get("module_")
    weights = {} if fitted is None else {"init_from": {k: v.detach().cpu() for k, v in fitted.state_dict().items()}}
    return {"module": module, **settings, **weights}


# Losses: with how much larger the gradient of torch's is.


def _loss(given: _Given, for_classes: bool) -> tuple[Loss, float]:
    settings = given.of("criterion")
    criterion = given.criterion if isinstance(given.criterion, nn.Module) else given.criterion(**settings)
    found = _CRITERIA.get((type(criterion), for_classes))
    if found is None:
        raise ValueError(_of_criterion(criterion))
    if getattr(criterion, "reduction", "mean") != "mean":
        raise _refusal(f"reduction={criterion.reduction!r} of the criterion", "leave it 'mean'")
    for name in ("weight", "pos_weight"):
        if getattr(criterion, name, None) is not None:
            raise _refusal(f"criterion__{name}", "use class_weight={label: weight} of the estimator here")
    if getattr(criterion, "ignore_index", -100) != -100:
        raise _refusal("criterion__ignore_index", "give such rows sample_weight=0")
    return found(criterion)


_CRITERIA: dict[tuple[type[nn.Module], bool], Callable[[Any], tuple[Loss, float]]] = {
    (nn.CrossEntropyLoss, True): lambda own: (components.LogLoss(label_smoothing=own.label_smoothing), 1.0),
    (nn.BCEWithLogitsLoss, True): lambda own: (components.LogLoss(), 1.0),
    (nn.MSELoss, False): lambda own: (components.SquaredError(), 2.0),
    (nn.L1Loss, False): lambda own: (components.AbsoluteError(), 1.0),
    (nn.HuberLoss, False): lambda own: (components.Huber(own.delta), 1.0),
    (nn.SmoothL1Loss, False): lambda own: (
        (components.Huber(own.beta), 1 / own.beta) if own.beta else (components.AbsoluteError(), 1.0)
    ),
}


def _of_criterion(criterion: nn.Module) -> str:
    advice = "Set loss=... of BigModuleClassifier or BigModuleRegressor yourself"
    if isinstance(criterion, nn.NLLLoss | nn.BCELoss):
        advice = (
            "With it the module returns probabilities, and here raw outputs: take the softmax or sigmoid out of the "
            "module, and use criterion=nn.CrossEntropyLoss or nn.BCEWithLogitsLoss"
        )
    return f"from_skorch cannot convert criterion={type(criterion).__name__}. {advice}."


# Optimizers. One whose gradient is s times ours takes our steps with its small numbers divided by s.


def _optimizer(given: _Given, scale: float) -> tuple[Optimizer, float, dict[str, Any] | None]:
    settings = {name: value for name, value in given.of("optimizer").items() if name not in _WITHOUT_EFFECT}
    rate = given.rate = float(settings.pop("lr", given.lr))
    groups = settings.pop("param_groups", None)
    name = _OPTIMIZERS.get(given.optimizer)
    if name is None:
        names = ", ".join(kind.__name__ for kind in _OPTIMIZERS)
        raise _refusal(f"optimizer={getattr(given.optimizer, '__name__', given.optimizer)!r}", f"use one of {names}")
    ours: Any = getattr(components, name)
    if settings.pop("maximize", False):
        raise _refusal("optimizer__maximize", "minimise the loss")
    defaults = {name: default for name, default in _defaults(given.optimizer).items() if hasattr(ours(), name)}
    unknown = [name for name in settings if name not in defaults]
    if unknown:
        raise _refusal(f"optimizer__{unknown[0]}", "leave it out")
    numbers = defaults | settings
    decay = float(numbers["weight_decay"])
    param_groups = _param_groups(groups, rate, decay)
    if name == "SGD":
        rate *= scale
    elif scale != 1:
        numbers["eps"] /= scale
    if "initial_accumulator_value" in numbers:
        numbers["initial_accumulator_value"] /= scale**2
    if name != "AdamW" and not numbers.get("decoupled_weight_decay"):
        numbers["weight_decay"] = decay / scale
    return ours(**numbers), rate, param_groups


_OPTIMIZERS: dict[type[torch.optim.Optimizer], str] = {
    torch.optim.SGD: "SGD",
    torch.optim.Adam: "Adam",
    torch.optim.AdamW: "AdamW",
    torch.optim.NAdam: "NAdam",
    torch.optim.RMSprop: "RMSprop",
    torch.optim.Adagrad: "Adagrad",
}


def _defaults(optimizer: Any) -> dict[str, Any]:
    parameters = inspect.signature(optimizer.__init__).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _param_groups(groups: Sequence[tuple[str, Mapping[str, Any]]] | None, rate: float, decay: float) -> Any:
    if not groups:
        return None
    found: dict[str, dict[str, float]] = {}
    for pattern, own in groups:
        unknown = [name for name in own if name not in ("lr", "weight_decay")]
        if unknown:
            raise _refusal(f"{unknown[0]!r} of optimizer__param_groups", "give groups an lr or a weight_decay alone")
        found[pattern] = {"learning_rate": own.get("lr", rate) / rate}
        if "weight_decay" in own and own["weight_decay"] != decay:
            if not decay:
                raise _refusal("a weight_decay of a group alone", "set optimizer__weight_decay, and 0 for other groups")
            found[pattern]["weight_decay"] = own["weight_decay"] / decay
    return found


# Callbacks, rows, and what is left.


def _of_callback(callback: Any, given: _Given, scale: float) -> dict[str, Any]:
    name = type(callback).__name__
    if name in _ONLY_WATCH:
        return {}
    if name == "EarlyStopping":
        return _early_stopping(callback, given)
    if name == "GradientNormClipping" and callback.gradient_clip_norm_type == 2:
        bound = callback.gradient_clip_value
        clipping: Clipping | None = None if bound is None else ClipNorm(bound / scale)
        return {"clipping": clipping}
    if name == "Freezer" and callback.at == 1:
        patterns = callback.patterns
        return {"freeze": [patterns] if isinstance(patterns, str) else list(patterns)}
    if name == "LRScheduler":
        return {"schedule": _schedule(callback, given)}
    advice = "use checkpoint_dir here" if "Checkpoint" in name else "use set_callbacks(...) here"
    raise _refusal(f"the callback {name}", advice)


def _early_stopping(callback: Any, given: _Given) -> dict[str, Any]:
    scorings = {"valid_loss": "loss", "valid_acc": None}
    if callback.monitor not in scorings or callback.lower_is_better != (callback.monitor == "valid_loss"):
        raise _refusal(f"EarlyStopping(monitor={callback.monitor!r})", "use early_stopping=True and scoring=... here")
    cv = getattr(given.train_split, "cv", None)
    if not isinstance(cv, int | float):
        raise _refusal(f"train_split={given.train_split!r}", "use ValidSplit, or fit(X, y, X_val=..., y_val=...) here")
    return {
        "early_stopping": True,
        "validation_fraction": cv if cv < 1 else 1 / cv,
        "n_iter_no_change": callback.patience - 1,
        "tol": callback.threshold if callback.threshold_mode == "abs" else 0.0,
        "scoring": scorings[callback.monitor],
    }


def _schedule(callback: Any, given: _Given) -> Schedule:
    policy = callback.policy if isinstance(callback.policy, str) else callback.policy.__name__
    if callback.step_every == "epoch" and policy == "ExponentialLR":
        return components.Exponential(callback.gamma)
    if callback.step_every == "epoch" and policy == "StepLR":
        return components.StepDecay(callback.step_size, getattr(callback, "gamma", 0.1))
    if callback.step_every == "epoch" and policy == "CosineAnnealingLR" and callback.T_max == given.max_epochs:
        return components.Cosine(end=getattr(callback, "eta_min", 0.0) / given.rate)
    raise _refusal(f"LRScheduler(policy={policy!r})", "choose a schedule here, as schedule='cosine' or a function")


def _batches(given: _Given) -> dict[str, Any]:
    given.of("iterator_valid")
    if given.iterator_train is not torch.utils.data.DataLoader:
        raise _refusal("iterator_train", "rows are read without a loader here; batch_size and shuffle say how")
    loader = {name: value for name, value in given.of("iterator_train").items() if name not in _LOADER}
    shuffle = loader.pop("shuffle", False)
    batch_size = loader.pop("batch_size", given.batch_size)
    unknown = [name for name, value in loader.items() if value]
    if unknown:
        raise _refusal(f"iterator_train__{unknown[0]}", "leave it out")
    return {"batch_size": "full" if batch_size == -1 else batch_size, "shuffle": bool(shuffle)}


def _check_rest(given: _Given) -> None:
    given.of("train_split")
    if given.net.predict_nonlinearity not in ("auto", None):
        raise _refusal("predict_nonlinearity", "the loss says here what raw outputs mean")
    if not getattr(given.net.dataset, "__module__", "").startswith("skorch."):
        raise _refusal("dataset", "fit(X, y) here, where X may be a memory map, or Parquet files")
    if getattr(given.net, "threshold", 0.5) != 0.5:
        raise _refusal("threshold", "use sklearn.model_selection.FixedThresholdClassifier")
    given.check_read()


def _check_code(net: Any) -> None:
    for name in _OWN_CODE:
        method = getattr(type(net), name, None)
        if method is not None and not method.__module__.startswith("skorch."):
            raise _refusal(f"{type(net).__name__}.{name}, which is your own", "put it into the module or a loss")


def _refusal(what: str, advice: str) -> ValueError:
    return ValueError(f"from_skorch cannot convert {what}: {advice}.")
