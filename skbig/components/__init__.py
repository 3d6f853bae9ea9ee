"""The components: what to do. Losses, penalties, optimizers, schedules, clippings, averages and augmentations.

Each is given to an estimator by its name, as a class, or as an instance with hyperparameters of its own. To make one,
subclass the interface of its kind as a frozen dataclass, declare its fields with `hyperparameter`, and prove it with
`skbig.testing.check_component`.
"""

from skbig._utils.component import Component, hyperparameter
from skbig.components.augmentations import Augmentation, GaussianNoise, Mix, Mixup, SwapNoise
from skbig.components.averages import EMA, Average
from skbig.components.clipping import ClipNorm, Clipping, ClipValue
from skbig.components.losses.base import ClassFunctionLoss, FunctionLoss, Loss
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
from skbig.components.optimizers.base import Optimizer
from skbig.components.optimizers.lbfgs import LBFGS
from skbig.components.optimizers.lion import Lion
from skbig.components.optimizers.muon import Muon
from skbig.components.optimizers.rmsprop import RMSprop
from skbig.components.optimizers.sgd import SGD
from skbig.components.penalties import L1, L2, ElasticNet, GroupL1, Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.annealing import Cosine, CosLog4, FlatCosine, Linear, OneCycle
from skbig.components.schedules.base import FunctionSchedule, Progress, Schedule
from skbig.components.schedules.decays import Constant, Exponential, InverseTime, InvScaling, Plateau, StepDecay

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
