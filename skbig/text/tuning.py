"""What the estimators of texts share: texts in, and a pretrained model that is tuned by our training loop.

Legend: N texts, L tokens that are read of each, D numbers of a vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from joblib import Memory
from sklearn.utils.validation import check_consistent_length

from skbig._utils.component import constraints_of, resolve
from skbig._utils.validation import COUNT, Boolean, Each, Instance, Options
from skbig.components.clipping import Clipping
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules.annealing import Linear
from skbig.components.schedules.base import Schedule
from skbig.components.schedules.decays import Constant
from skbig.data.array_rows import ArrayRows
from skbig.estimators.attributes import TextAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.choices import Choices
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.named_weights import NamedWeights
from skbig.estimators.parameters import PathName, TrainingParameters
from skbig.estimators.row_checks import check_given
from skbig.estimators.sklearn_compat import check_y
from skbig.networks.network import Network
from skbig.pretrained.base import Base, let_go_of_devices
from skbig.pretrained.pooling import POOLINGS
from skbig.text.encoder import check_pooling, longest
from skbig.text.models import TextModel, read_text_model
from skbig.text.networks import TunedEncoder, VectorHead
from skbig.text.texts import as_texts
from skbig.text.tokens import TOO_LONG, padded
from skbig.text.vectors import vectors_once

AUTO = Options(("auto",))
LONGEST = 512
"""Tokens that are read of a text by a model that says of no limit."""

RATES = {"head": 0.01, "lora": 5e-4, "full": 5e-5}
EPOCHS = {"head": 100, "lora": 10, "full": 4}
BATCHES = {"head": 32, "lora": 16, "full": 16}
NOT_DECAYED = ("bias", "scale", "offset")


def _given(name: str) -> tuple[Any, ...]:
    """Return what a parameter of all estimators may be, and "auto" besides."""
    return (AUTO, *constraints_of(TrainingParameters, name))


@estimator
class BigText(TextAttributes, NamedWeights, NetworkEstimator):
    """What the estimators of texts share."""

    model: str | PathLike[str] | None = parameter(
        None,
        PathName(),
        words="str or path",
        doc="""The pretrained model: a folder that `save_pretrained` has written, or a name of the Hugging Face hub, as
        of :class:`~skbig.text.TextEncoder`.""",
        kw_only=False,
    )
    tune: str = parameter(
        "lora",
        Options(("head", "lora", "full")),
        words="{'head', 'lora', 'full'}",
        doc="""What is trained: 'head' a linear layer on the vectors of the model, which are made once; 'lora' low-rank
        adapters beside its layers, and the head; 'full' all of it.""",
    )
    pooling: str = parameter(
        "mean",
        Options(POOLINGS),
        words="{'mean', 'cls', 'max'}",
        doc="Which vector stands for a text, as of :class:`~skbig.text.TextEncoder`.",
    )
    max_length: int | None = parameter(
        None,
        Options((None,)),
        COUNT,
        words="int or None",
        doc="Tokens that are read of a text. None: as many as the model takes, or 512.",
    )
    too_long: str = parameter(
        "warn",
        Options(TOO_LONG),
        words="{'warn', 'cut', 'raise'}",
        doc="What becomes of longer texts: they are cut off with a warning, or without, or refused.",
    )
    dropout: float = parameter(
        0.1,
        *constraints_of(VectorHead, "dropout"),
        words="float in [0, 1)",
        doc="Share of a vector's numbers that is zeroed before the head in training. Within, the model has its own.",
        stacks=True,
    )
    lora_rank: int = parameter(
        8,
        *constraints_of(TunedEncoder, "rank"),
        words="int",
        doc="Rank of the adapters: a layer of n inputs and k outputs has ``rank * (n + k)`` numbers more.",
    )
    lora_alpha: float = parameter(
        16.0,
        *constraints_of(TunedEncoder, "lora_alpha"),
        words="float",
        doc="What adapters give is multiplied by ``lora_alpha / lora_rank``.",
        stacks=True,
    )
    lora_dropout: float = parameter(
        0.0,
        *constraints_of(TunedEncoder, "lora_dropout"),
        words="float in [0, 1)",
        doc="Share of the inputs of adapters that is zeroed in training.",
    )
    lora_targets: Sequence[str] | None = parameter(
        None,
        Options((None,)),
        Each(Instance((str,), "a str")),
        words="list of str or None",
        doc="""Which linear layers have adapters: ends of their names, as ``["query", "value", "dense"]``, or patterns
        of whole ones. None: those of queries and values.""",
    )
    rows_at_once: int | None = parameter(
        None,
        Options((None,)),
        COUNT,
        words="int or None",
        doc="""Texts of a batch whose gradient is computed at once; the gradients of its parts are added up. It needs
        less memory, and gives the same result.""",
    )
    cache: str | PathLike[str] | Memory | None = parameter(
        None,
        Options((None,)),
        PathName(),
        Instance((Memory,), "a joblib.Memory"),
        words="path, joblib.Memory or None",
        doc="Where vectors are kept for ``tune='head'``, as of :class:`~skbig.text.TextEncoder`.",
        identifies=False,
    )
    local_files_only: bool = parameter(
        False,
        Boolean(),
        words="bool",
        doc="Whether a model that is not on this machine is not to be downloaded.",
        identifies=False,
    )
    penalty: str | Penalty | None = parameter(
        None,
        words="{'l2', 'l1', 'elasticnet'}, Penalty or None",
        doc="What is added to the loss for large weights, by the strength `alpha`. The optimizer has a weight decay.",
        kind=Penalty,
    )
    optimizer: str | Optimizer = parameter(
        "adamw", words="str or Optimizer", doc="As of :class:`~skbig.BigMLPClassifier`.", kind=Optimizer
    )
    learning_rate: str | float = parameter(
        "auto",
        *constraints_of(TrainingParameters, "learning_rate"),
        words="'auto' or float",
        doc="Base rate of the steps; 'auto' is 0.01 for a head, 0.0005 with adapters, 0.00005 where all is trained.",
        stacks=True,
    )
    schedule: str | Schedule = parameter(
        "auto",
        words="'auto', str, Schedule or callable",
        doc="""'auto' is ``Linear(warmup=0.1, end=0)``: the rate rises in the first tenth, and falls to zero. Else as of
        :class:`~skbig.BigMLPClassifier`.""",
        kind=Schedule,
    )
    clipping: str | Clipping | None = parameter(
        "norm",
        words="{'norm', 'value'}, Clipping or None",
        doc="How gradients are kept small.",
        kind=Clipping,
    )
    param_groups: Any = parameter(
        "auto",
        *_given("param_groups"),
        words="'auto', dict or None",
        doc="""Rates and weight decays by role or by name, as ``{"base.*": 0.1}``. 'auto' leaves biases and
        normalizations without a decay, where the optimizer has one.""",
        stacks=True,
    )
    max_iter: Any = parameter(
        "auto",
        *_given("max_iter"),
        words="'auto' or int",
        doc="Epochs; 'auto' is 100 for a head, 10 with adapters, 4 where all is trained.",
        stacks=True,
    )
    batch_size: str | int = parameter(
        "auto",
        *constraints_of(TrainingParameters, "batch_size"),
        words="int, 'auto' or 'full'",
        doc="Texts per step; 'auto' is 32 for a head, else 16, or all where there are fewer.",
    )

    _reads_texts = True
    _reads_tensors = False

    # What the parameters stand for.

    def _stands_for(self, name: str, value: Any) -> Any:
        if not (isinstance(value, str) and value == "auto"):
            return value
        tune = self.tune if self.tune in RATES else "lora"  # which is refused where it is checked
        if name == "param_groups":
            decays = hasattr(resolve(Optimizer, self.optimizer), "weight_decay")
            return {role: {"weight_decay": 0.0} for role in NOT_DECAYED} if decays else None
        known: dict[str, Any] = {"learning_rate": RATES, "max_iter": EPOCHS}
        if name in known:
            return known[name][tune]
        return Linear(warmup=0.1, end=0.0) if name == "schedule" else value

    def _planned(self, name: str) -> int:
        return int(self._stands_for(name, getattr(self, name)))

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        facts = {"goes_on": goes_on, "judged": judged, "incremental": incremental}
        choices, targets = super()._settled(choices, checked, targets, **facts)
        if incremental and self.schedule == "auto":  # nobody knows how many calls there will be
            choices = dataclasses.replace(choices, schedule=Constant())
        if choices["batch_size"] == "auto":
            choices = choices.with_parameters(batch_size=min(BATCHES[self.tune], checked.X.shape[0]))
        if choices.backend is not None and choices.backend.shares_parameters and self.tune != "head":
            raise ValueError(
                f"backend={choices['backend']!r} leaves to each process a part of every layer, and a pretrained model "
                "is kept whole. Use backend='ddp', or tune='head'."
            )
        if choices["rows_at_once"] is not None and choices.backend is not None:
            raise ValueError(
                "With a backend each process computes its own part of a batch, so rows_at_once must be None. Use more "
                "processes, or a smaller batch_size."
            )
        if choices["rows_at_once"] is not None and choices.augmentation is not None:
            raise ValueError(
                f"augmentation={choices['augmentation']!r} mixes rows of a whole batch, so rows_at_once must be None."
            )
        return choices, targets

    def _make_network(self) -> Network:
        base = self._found()
        max_length = self._longest(base)
        if self.tune == "head":
            return VectorHead(self.dropout, self.pooling)
        targets = None if self.lora_targets is None else tuple(self.lora_targets)
        lora = (self.lora_rank, self.lora_alpha, self.lora_dropout, targets)
        network = TunedEncoder(base, self.tune, self.pooling, max_length, self.dropout, *lora)
        network.check()
        return network.plain()

    # What becomes of texts.

    def _found(self) -> Base:
        if not PathName().accepts(self.model):
            raise ValueError(
                f"The 'model' parameter of {type(self).__name__} must be a path that is not empty, or the name of a "
                f"hub's model. Got {self.model!r} instead."
            )
        assert self.model is not None
        return Base.find(self.model, "text", local_files_only=bool(self.local_files_only))

    def _longest(self, base: Base) -> int:
        model: TextModel = base.loaded("text", read_text_model)
        check_pooling(self.pooling, model, Path(base.folder))
        if model.is_static and self.tune == "lora":
            raise ValueError(
                f"The model in {base.folder} is a table of vectors and has no layers, so there is nothing for adapters "
                "to stand beside. Use tune='head' or tune='full'."
            )
        return longest(self.max_length, model, Path(base.folder)) or LONGEST

    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool, incremental: bool
    ) -> tuple[Any, Any]:
        del weight, incremental
        texts = as_texts(X)
        check_given(self, y)
        y = check_y(y, multi_output=True, y_numeric=not self._for_classes, estimator=self)
        check_consistent_length(texts, y)
        if reset:
            base = self._found()
            self.folder_, self.fingerprint_, self.max_length_ = base.folder, base.fingerprint, self._longest(base)
        return self._read(texts, dtypes[-1], self), y

    def _check_validation_rows(self, X: Any, dtype: Any, name: str) -> Any:
        return self._read(as_texts(X, name), dtype, self, name)

    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        if vars(self).get("_takes_encoded"):  # in the midst of a fit
            return X
        return self._read(as_texts(X), dtype, self._fitted_network)

    def _read(self, texts: Sequence[str], dtype: Any, reader: Any, name: str = "X") -> np.ndarray:
        """Return what a network reads of texts: their tokens (N, L), or the vectors (N, D) of the untouched model.

        The `reader` says which, by its `tune` and `pooling`: the estimator, for a network that is to be trained, or
        the network that was.
        """
        assert self.model is not None
        base = Base(self.model, self.folder_, self.fingerprint_, "text")
        base.located()
        model: TextModel = base.loaded("text", read_text_model)
        tokens = model.tokenizer.tokens(texts, self.max_length_, self.too_long, name)
        if reader.tune != "head":
            return padded(tokens, self.max_length_)
        return vectors_once(base, tokens, reader.pooling, self.device, self.cache).astype(dtype)

    @property
    def _fitted_network(self) -> Any:
        return self._network.network

    def _fit(self, given: Given, held: Given, *, incremental: bool, classes: Any = None) -> Self:
        try:
            return super()._fit(given, held, incremental=incremental, classes=classes)
        finally:
            let_go_of_devices()

    def _raw(self, X: Any, of_raw: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        try:
            return super()._raw(X, of_raw)
        finally:
            let_go_of_devices()

    def _row_lengths(self, X: Any) -> np.ndarray | None:
        if X.dtype.kind == "f":
            return None
        tokens = X.load() if isinstance(X, ArrayRows) else X
        return np.asarray((tokens >= 0).sum(1))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the optimizer's state, which holds several times as much as the weights: see the class."""
        state: dict[str, Any] = super().__getstate__()
        if "_progress" in state and self._fitted_network.tune != "head":
            state["_progress"] = {**state["_progress"], "state": []}
        return state

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"name": f"text.{type(self).__name__}"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.sparse = False
        tags.input_tags.string = True
        return tags
