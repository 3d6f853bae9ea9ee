"""The components: what to do. Losses, penalties, optimizers, schedules, clippings, averages and augmentations.

Each is given to an estimator by its name, as a class, or as an instance with hyperparameters of its own. To make one,
subclass the interface of its kind as a frozen dataclass, declare its fields with `hyperparameter`, and prove it with
`skbig.testing.check_component`.
"""

from typing import TYPE_CHECKING

from skbig._utils.component import Component, hyperparameter
from skbig._utils.component import late_components as _late_components
from skbig._utils.late_names import late_names as _late_names
from skbig.components.augmentations import Augmentation, GaussianNoise, Mix, Mixup, SwapNoise
from skbig.components.averages import EMA, Average
from skbig.components.clipping import ClipNorm, Clipping, ClipValue
from skbig.components.losses.base import ClassFunctionLoss, FunctionLoss, Loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import L1, L2, ElasticNet, GroupL1, Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.base import FunctionSchedule, Progress, Schedule

if TYPE_CHECKING:
    from skbig.components.losses.classification import FocalLoss, Hinge, LogLoss, ModifiedHuber, SquaredHinge
    from skbig.components.losses.regression import (
        AbsoluteError,
        EpsilonInsensitive,
        Gamma,
        GaussianNLL,
        Huber,
        LogCosh,
        Poisson,
        Quantile,
        SquaredError,
        SquaredLogError,
    )
    from skbig.components.optimizers.adagrad import Adagrad
    from skbig.components.optimizers.adam import Adam, AdamW, NAdam
    from skbig.components.optimizers.lbfgs import LBFGS
    from skbig.components.optimizers.lion import Lion
    from skbig.components.optimizers.muon import Muon
    from skbig.components.optimizers.rmsprop import RMSprop
    from skbig.components.optimizers.sgd import SGD
    from skbig.components.schedules.annealing import Cosine, CosLog4, FlatCosine, Linear, OneCycle
    from skbig.components.schedules.decays import Constant, Exponential, InverseTime, InvScaling, Plateau, StepDecay
else:
    _catalogue = {
        "loss": {
            "losses.classification": {
                "log_loss": "LogLoss",
                "focal": "FocalLoss",
                "hinge": "Hinge",
                "squared_hinge": "SquaredHinge",
                "modified_huber": "ModifiedHuber",
            },
            "losses.regression": {
                "squared_error": "SquaredError",
                "absolute_error": "AbsoluteError",
                "huber": "Huber",
                "log_cosh": "LogCosh",
                "squared_log_error": "SquaredLogError",
                "poisson": "Poisson",
                "gamma": "Gamma",
                "gaussian_nll": "GaussianNLL",
                "quantile": "Quantile",
                "epsilon_insensitive": "EpsilonInsensitive",
            },
        },
        "optimizer": {
            "optimizers.adagrad": {"adagrad": "Adagrad"},
            "optimizers.adam": {"adam": "Adam", "adamw": "AdamW", "nadam": "NAdam"},
            "optimizers.lbfgs": {"lbfgs": "LBFGS"},
            "optimizers.lion": {"lion": "Lion"},
            "optimizers.muon": {"muon": "Muon"},
            "optimizers.rmsprop": {"rmsprop": "RMSprop"},
            "optimizers.sgd": {"sgd": "SGD"},
        },
        "schedule": {
            "schedules.annealing": {
                "linear": "Linear",
                "cosine": "Cosine",
                "flat_cosine": "FlatCosine",
                "coslog4": "CosLog4",
                "one_cycle": "OneCycle",
            },
            "schedules.decays": {
                "constant": "Constant",
                "exponential": "Exponential",
                "step": "StepDecay",
                "inverse_time": "InverseTime",
                "invscaling": "InvScaling",
                "plateau": "Plateau",
            },
        },
    }
    __getattr__, __dir__ = _late_names(__name__, _late_components(__name__, _catalogue))

__all__ = [
    "DPSGD",
    "EMA",
    "L1",
    "L2",
    "LBFGS",
    "SGD",
    "AbsoluteError",
    "Adagrad",
    "Adam",
    "AdamW",
    "Augmentation",
    "Average",
    "ClassFunctionLoss",
    "ClipNorm",
    "ClipValue",
    "Clipping",
    "Component",
    "Constant",
    "CosLog4",
    "Cosine",
    "ElasticNet",
    "EpsilonInsensitive",
    "Exponential",
    "FlatCosine",
    "FocalLoss",
    "FunctionLoss",
    "FunctionSchedule",
    "Gamma",
    "GaussianNLL",
    "GaussianNoise",
    "GroupL1",
    "Hinge",
    "Huber",
    "InvScaling",
    "InverseTime",
    "Linear",
    "Lion",
    "LogCosh",
    "LogLoss",
    "Loss",
    "Mix",
    "Mixup",
    "ModifiedHuber",
    "Muon",
    "NAdam",
    "OneCycle",
    "Optimizer",
    "Penalty",
    "Plateau",
    "Poisson",
    "Progress",
    "Quantile",
    "RMSprop",
    "Schedule",
    "SquaredError",
    "SquaredHinge",
    "SquaredLogError",
    "StepDecay",
    "SwapNoise",
    "hyperparameter",
]
