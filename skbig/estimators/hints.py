"""Hints for those who come from elsewhere: the name here of what another library calls otherwise.

The tables speak the words of MLPClassifier and SGDClassifier, XGBoost and LightGBM, skorch and torch, Keras and
scikeras, pytabkit and Lightning. A name that is in none of them is compared with the parameters there are.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Iterable
from typing import Any

from skbig._utils.component import names
from skbig._utils.device import PRECISIONS
from skbig.estimators.types import Method
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.dense import NORMALIZATIONS

# What is called otherwise here, with a note in brackets.
_RENAMED: dict[str, str] = {
    "max_iter (epochs)": "n_epochs num_epochs epochs max_epochs nb_epoch n_iter num_iter",
    "learning_rate": "lr learning_rate_init eta0 eta lr0 lr_init learn_rate base_lr",
    "optimizer": "solver opt optim algorithm",
    "loss": "criterion objective loss_function loss_fn loss_func",
    "param_groups (factors by role or by name)": "parameter_groups layer_lrs lr_mult paramwise_cfg layer_decay",
    "schedule": "lr_scheduler lr_sched lr_schedule learning_rate_schedule learning_rate_scheduler scheduler",
    "hidden_layer_sizes": "hidden_sizes hidden_layers layers units n_units num_units hidden_units layer_sizes",
    "activation": "act nonlinearity activation_function activation_fn hidden_activation",
    "batch_size": "bs minibatch_size mini_batch_size train_batch_size",
    "n_iter_no_change": "patience early_stopping_rounds early_stopping_round early_stopping_patience",
    "validation_fraction": "val_fraction validation_split train_split val_split val_size",
    "scoring": "metric metrics eval_metric val_metric val_metric_name",
    "random_state": "seed random_seed rng",
    "verbose": "verbosity verbose_eval silent progress_bar enable_progress_bar",
    "tol": "tolerance min_delta",
    "monotonic_cst": "monotone_constraints monotonic_constraints monotonicity_constraints",
    "dropout": "dropout_rate p_drop p_dropout drop_rate dropout_prob",
    "n_members": "n_ens n_ensemble ensemble_size num_members",
    "class_weight": "class_weights scale_pos_weight pos_weight is_unbalance",
    "early_stopping (True or False)": "use_early_stopping early_stop",
    "device ('cpu', 'cuda' or 'mps')": "accelerator use_gpu use_cuda gpu gpu_id devices",
    "precision": "dtype mixed_precision use_amp amp",
    "alpha (the strength of penalty='l2')": "reg_lambda l2_regularization l2 l2_reg lambda_l2 l2_leaf_reg lambda",
    "alpha (with penalty='l1')": "reg_alpha l1 l1_reg lambda_l1",
    "max_time (seconds)": "time_limit time_limit_s max_seconds timeout time_budget",
    "augmentation": "augment data_augmentation transforms",
    "backend ('ddp')": "strategy distributed distribute distribution distribution_strategy dist_backend",
}

# What is a part of a component here, is given elsewhere, or is not here at all.
_INSTEAD: dict[str, str] = {
    "Use alpha, the strength of penalty='l2', or optimizer=AdamW(weight_decay=...).": "weight_decay wd",
    "Use optimizer=SGD(momentum=...).": "momentum mom",
    "Use optimizer=SGD(momentum=..., nesterov=True).": "nesterovs_momentum nesterov nesterov_momentum",
    "Use optimizer=Adam(betas=(..., ...)).": "beta_1 beta_2 beta1 beta2 betas sq_mom",
    "Use optimizer=Adam(eps=...), loss=Huber(delta=...) or loss=EpsilonInsensitive(epsilon=...).": "epsilon",
    "Use optimizer=Adam(eps=...).": "eps opt_eps",
    "Use optimizer=Adam(amsgrad=True).": "amsgrad",
    "Use optimizer=RMSprop(alpha=...).": "rho",
    "Use optimizer=LBFGS(max_fun=...).": "max_fun max_eval",
    "Use schedule=InvScaling(power_t=...).": "power_t",
    "Use schedule=Exponential(gamma=...) or schedule=InverseTime(beta=...).": "lr_decay decay decay_rate",
    "Use schedule=Constant(warmup=...), or the warmup of any other schedule, a share of the training.": """
        warmup warmup_steps warmup_epochs warmup_ratio num_warmup_steps""",
    "Use penalty=ElasticNet(l1_ratio=...).": "l1_ratio",
    "Use penalty='l1' or penalty='l2', with the strength alpha.": "kernel_regularizer regularizer regularization",
    "Use loss=LogLoss(label_smoothing=...).": "label_smoothing ls_eps use_ls",
    "Use loss=Quantile(quantile=...).": "quantile quantile_alpha",
    "Use loss=FocalLoss(gamma=...), or schedule=Exponential(gamma=...).": "gamma",
    "Use loss=Huber(delta=...).": "delta huber_slope",
    "Use clipping=ClipNorm(max_norm=...).": """
        gradient_clip_val clip_grad_norm max_grad_norm clipnorm global_clipnorm clip_norm grad_clip gradient_clip
        gradient_clipping max_norm""",
    "Use clipping=ClipValue(max_value=...).": "clipvalue clip_value clip_grad_value",
    "Use normalization='batch'.": "batch_norm use_bn batchnorm batch_normalization use_batch_norm",
    "Use normalization='layer'.": "layer_norm layernorm use_layer_norm",
    "Use augmentation=Mixup(alpha=...).": "mixup mixup_alpha",
    "Use augmentation=GaussianNoise(scale=...).": "noise noise_std",
    "Give validation data to fit: fit(X, y, X_val=..., y_val=...).": """
        eval_set validation_data valid_sets val_data X_val y_val""",
    "Give weights to fit: fit(X, y, sample_weight=...).": "sample_weight sample_weights",
    "Give callbacks to set_callbacks(...): skbig.callbacks has some. early_stopping=True ends the training early.": """
        callbacks callback""",
    "Give the weights of validation rows to fit: fit(..., sample_weight_val=...).": """
        sample_weight_eval_set eval_sample_weight sample_weight_eval validation_sample_weight""",
    "Encode categories before the network, as with OneHotEncoder in a ColumnTransformer.": """
        categorical_feature cat_features categorical_features enable_categorical cat_cols cat_indices""",
    "The network is always a multi-layer perceptron: hidden_layer_sizes, activation, dropout and normalization are its "
    "parameters.": "module model build_fn net network module_cls estimator",
    "Every layer has intercepts; they cannot be left out.": "fit_intercept use_bias bias",
    "The first weights are Glorot's, as in scikit-learn, and drawn from random_state.": """
        kernel_initializer bias_initializer init initializer weight_init""",
    "Use average='ema', or average=EMA(decay=...).": "ema use_ema swa ema_decay model_ema averaging weight_averaging",
    "Use backend=DDP(n_workers=...).": "n_workers n_gpus num_gpus gpus nproc_per_node num_processes world_size",
    "Use backend=DDP(sync_every=...).": "sync_every local_steps",
    "Use backend='fsdp'.": "fsdp fully_shard zero_stage zero deepspeed",
    "Use backend='tensor'.": "tensor_parallel tp_size tensor_parallel_size",
    "Use backend=DDP(max_restarts=...), with a checkpoint_dir.": "max_restarts",
    "Rows are read without a loader; batch_size and shuffle say how.": """
        iterator_train iterator_valid dataset dataloader num_workers""",
    "A batch that does not fit in memory is split by itself.": "accumulate_grad_batches gradient_accumulation_steps",
    "Scale the features in a pipeline: make_pipeline(StandardScaler(), ...).": "normalize scaler standardize",
}

# What is not a matter of networks: sentences that begin with the name.
_SENTENCES: dict[str, str] = {
    "is not needed: training uses torch's threads, and torch.set_num_threads says how many.": """
        n_jobs nthread num_threads n_threads thread_count""",
    "belongs to trees; the size of a network is hidden_layer_sizes, the length of its training max_iter.": """
        n_estimators num_boost_round num_iterations max_depth num_leaves max_leaves max_leaf_nodes max_bin booster
        boosting_type tree_method grow_policy min_child_weight min_child_samples min_samples_leaf min_samples_split
        subsample bagging_fraction colsample_bytree colsample_bylevel feature_fraction max_features""",
}

# What a fitted model is asked for elsewhere.
_ATTRIBUTES: dict[str, str] = {
    "The weights are NumPy arrays: coefs_ and intercepts_, of linear models coef_ and intercept_, of others weights_."
    " skbig.save_weights writes them.": """
        module_ module model_ net_ network_ state_dict parameters""",
    "The curves are loss_curve_, validation_loss_curve_, validation_scores_ and learning_rates_; "
    "skbig.plots.TrainingDisplay draws them.": """
        history_ history evals_result_ evals_result train_history""",
    "summary() tells of layers, shapes, parameters and memory.": """
        count_params n_parameters n_params num_parameters n_parameters_ num_params summarize layers""",
    "early_stopping=True keeps the best weights; validation_scores_ tells which epoch they are of.": """
        best_iteration_ best_iteration best_epoch_ best_ntree_limit""",
    "sklearn.inspection.permutation_importance gives the importances of the features for any model.": """
        feature_importances_ feature_importances""",
}

# Values that mean something elsewhere, spelt as `_word` spells them: how they are written here.
_VALUES: dict[str, dict[str, str]] = {
    "activation": {
        "'logistic'": "sigmoid",
        "'identity'": "linear none",
        "'silu'": "swish",
        "'relu'": "rectifier",
        "'leaky_relu'": "leakyrelu",
    },
    "loss": {
        "'log_loss'": """cross_entropy crossentropy crossentropyloss ce categorical_crossentropy bce bceloss
            sparse_categorical_crossentropy binary_crossentropy binary_cross_entropy bcewithlogitsloss nll nllloss log
            logloss binary_logloss multi_logloss logistic deviance binary:logistic multi:softmax multi:softprob""",
        "'squared_error'": """mse mse_loss mseloss mean_squared_error l2 rmse squared_loss ls least_squares
            reg:squarederror""",
        "'absolute_error'": "mae mean_absolute_error l1 l1_loss l1loss lad reg:absoluteerror",
        "'huber'": "huber_loss huberloss smooth_l1 smoothl1loss",
        "'log_cosh'": "logcosh",
        "'squared_log_error'": "msle mean_squared_logarithmic_error reg:squaredlogerror",
        "'quantile'": "pinball pinball_loss quantile_loss reg:quantileerror",
        "'poisson'": "count:poisson poissonnllloss",
        "'gamma'": "reg:gamma",
        "'focal'": "focal_loss focalloss binary_focal_crossentropy categorical_focal_crossentropy",
        "'hinge'": "svm hinge_loss",
    },
    "penalty": {
        "None": "none false 0",
        "'l2'": "ridge",
        "'l1'": "lasso",
        "'elasticnet'": "elastic_net l1_l2",
    },
    "optimizer": {
        "SGD(momentum=0.9)": "momentum",
        "SGD(momentum=0.9, nesterov=True)": "nesterov nag",
        "Adam(amsgrad=True)": "amsgrad",
        "'lbfgs'": "l_bfgs l_bfgs_b bfgs newton_cg",
    },
    "schedule": {
        "'constant'": "none false",
        "'cosine'": "cosine_annealing cosineannealinglr cosine_decay cosinedecay",
        "'plateau'": "reducelronplateau reduce_on_plateau reduce_lr_on_plateau",
        "'one_cycle'": "onecycle onecyclelr 1cycle",
        "'step'": "steplr step_decay",
        "'exponential'": "exponentiallr exponential_decay exponentialdecay",
        "'linear'": "linearlr linear_decay",
        "InverseTime(unit='step')": "optimal inverse_time_decay inversetimedecay",
        "Constant(warmup=0.1)": "warmup linear_warmup constant_with_warmup",
    },
    "normalization": {
        "'batch'": "true bn batchnorm batch_norm batchnorm1d batchnormalization",
        "'layer'": "ln layernorm layer_norm layernormalization",
        "None": "false none",
    },
    "clipping": {
        "'norm'": "true clipnorm clip_norm grad_norm gradient_norm",
        "'value'": "clipvalue clip_value",
        "None": "false none 0",
    },
    "augmentation": {
        "None": "none false",
        "'gaussian_noise'": "noise gaussian",
        "'mixup'": "true mix_up",
    },
    "batch_size": {"'full'": "none -1 all 0"},
    "dropout": {"0.0": "none false"},
    "hidden_layer_sizes": {"()": "none 0"},
    "device": {"'cuda'": "gpu", "'auto'": "none", "'cpu'": "-1"},
    "precision": {
        "'float32'": "32 fp32 32_true single",
        "'float64'": "64 fp64 64_true double",
        "'bf16'": "bfloat16 bf16_mixed bf16_true mixed_bfloat16 16 fp16 float16 half 16_mixed mixed_float16",
    },
    "backend": {
        "'ddp'": """distributed_data_parallel distributeddataparallel data_parallel dataparallel dp multi_gpu mirrored
            mirroredstrategy torchrun nccl gloo""",
        "'fsdp'": "fsdp2 fullyshardeddataparallel fully_sharded_data_parallel fully_sharded fully_shard deepspeed zero",
        "'tensor'": "tensorparallel tensor_parallel tp dtensor megatron model_parallel",
        "None": "none single single_device",
    },
    "scoring": {"'loss'": "val_loss valid_loss validation_loss"},
}

_CHOICES = {
    "activation": tuple(ACTIVATIONS),
    "normalization": NORMALIZATIONS,
    "precision": PRECISIONS,
    "backend": ("ddp", "fsdp", "tensor"),
}
_KINDS = ("optimizer", "schedule", "loss", "penalty", "clipping", "average", "augmentation")


def _by_word(table: dict[str, str]) -> dict[str, str]:
    """Turn ``{answer: "word word"}`` inside out."""
    return {word: answer for answer, words in table.items() for word in words.split()}


_RENAMED_BY_NAME, _INSTEAD_BY_NAME, _SENTENCE_BY_NAME = map(_by_word, (_RENAMED, _INSTEAD, _SENTENCES))
_ATTRIBUTES_BY_NAME = _by_word(_ATTRIBUTES)
_MEANINGS = {parameter: _by_word(table) for parameter, table in _VALUES.items()}


def hint_for(name: str, known: Iterable[str]) -> str:
    """Return a sentence on an unknown parameter: what it is called here, or which known one it resembles; or "".

    Examples
    --------
    >>> hint_for("lr", ["learning_rate"])
    "'lr' is called learning_rate here."
    >>> hint_for("hidden_layer_size", ["hidden_layer_sizes"])
    "Did you mean 'hidden_layer_sizes'?"
    """
    owner, nested, field = name.partition("__")
    if not nested:
        return _familiar(name) or _nearest(name, known)
    if owner not in known:
        return _familiar(owner) or _nearest(owner, known)
    return _familiar(field) or f"Give {field!r} to the component itself, or to set_params({name}=...)."


def hint_for_value(parameter: str, value: Any) -> str:
    """Return a sentence on a value that another library understands, "" when none is known.

    Examples
    --------
    >>> hint_for_value("activation", "sigmoid")
    "'sigmoid' is activation='logistic' here."
    >>> hint_for_value("optimizer", "cosine")
    "'cosine' is a schedule: use schedule='cosine'."
    """
    if parameter == "learning_rate":
        return _hint_for_rate(value)
    if parameter == "early_stopping" and _is_number(value):
        return f"early_stopping is True or False here; use n_iter_no_change={value!r}."
    meaning = _meaning(parameter, value)
    if meaning and meaning != repr(value):
        return f"{_shown(value)} is {parameter}={meaning} here."
    return "" if meaning else _misplaced(parameter, value)


def hint_for_attribute(name: str) -> str:
    """Return a sentence on an attribute that a fitted model of another library has; or "".

    Examples
    --------
    >>> hint_for_attribute("history_")
    'The curves are loss_curve_, validation_loss_curve_, validation_scores_ and learning_rates_; ...'
    """
    return _ATTRIBUTES_BY_NAME.get(name, "")


def with_hints(method: Method) -> Method:
    """Let a method of an estimator answer an unknown keyword with a hint; its signature stays what it is."""
    known = set(inspect.signature(method).parameters)

    @functools.wraps(method)
    def hinting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.keys() <= known:
            name = next(name for name in kwargs if name not in known)
            raise TypeError(
                f"{type(self).__name__}.{method.__name__}() got an unexpected keyword argument {name!r}. "
                f"{_hint_for_argument(name, self, known)}".rstrip()
            )
        return method(self, *args, **kwargs)

    return hinting  # type: ignore[return-value]


def _hint_for_argument(name: str, estimator: Any, known: set[str]) -> str:
    """Say where something belongs that was given to a method: mostly it is a parameter of the estimator."""
    owner, parameters = type(estimator).__name__, estimator.get_params(deep=False)
    if name in parameters:
        return f"It is a parameter of the estimator: {owner}({name}=...)."
    hint = hint_for(name, known)
    is_parameter = name in _RENAMED_BY_NAME or hint.startswith("Use ")
    return f"{hint} It is given to the estimator: {owner}(...)." if is_parameter else hint


def _familiar(name: str) -> str:
    """Return what the tables say of a name."""
    if name in _RENAMED_BY_NAME:
        ours, _, note = _RENAMED_BY_NAME[name].partition(" ")
        return f"{name!r} is called {ours} here {note}".rstrip() + "."
    if name in _SENTENCE_BY_NAME:
        return f"{name!r} {_SENTENCE_BY_NAME[name]}"
    return _INSTEAD_BY_NAME.get(name, "")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"Did you mean {close[0]!r}?" if close else ""


def _hint_for_rate(value: Any) -> str:
    schedule = _meaning("schedule", "plateau" if value == "adaptive" else value) if isinstance(value, str) else ""
    if not schedule:
        return ""
    return f"learning_rate is a number here; use schedule={schedule} (and the rate goes into learning_rate)."


def _meaning(parameter: str, value: Any) -> str:
    """Return how a value is written here, or ""."""
    word = _word(value)
    if _is_own(parameter, word):
        return repr(word)
    if word in _MEANINGS.get(parameter, {}):
        return _MEANINGS[parameter][word]
    if parameter == "clipping" and _is_number(value):
        return f"ClipNorm(max_norm={value!r})"
    return f"'cuda:{value}'" if parameter == "device" and _is_number(value) else ""


def _misplaced(parameter: str, value: Any) -> str:
    """Say where a name or a component belongs that was given to another parameter."""
    word, own_kind = _word(value), getattr(value, "kind", "")
    for kind in (*_KINDS, "activation"):
        if kind != parameter and (kind == own_kind or _is_own(kind, word)):
            article = "an" if kind[0] in "aeiou" else "a"
            return f"{value!r} is {article} {kind}: use {kind}={repr(word) if _is_own(kind, word) else repr(value)}."
    return ""


def _is_own(parameter: str, word: str) -> bool:
    """Return whether a word is one of our own names."""
    if parameter in _KINDS:
        return word in names(parameter)
    if parameter == "device":
        return re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", word) is not None
    return word in _CHOICES.get(parameter, ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _word(value: Any) -> str:
    """Return a name, a class, a function or an object of torch as a word of the tables."""
    if type(value).__module__.startswith(("torch.nn", "torch.optim")):
        value = type(value)
    text = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    return re.sub(r"[\s-]+", "_", text.strip().lower().removeprefix("torch.")) if text != "-1" else text


def _shown(value: Any) -> str:
    return getattr(value, "__name__", repr(value))
