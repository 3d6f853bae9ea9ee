"""
Inside Ray Train
================

A fit with ``backend="ddp"`` joins the workers of a ``TorchTrainer``. Each of them calls ``fit`` with the same rows and
parameters, computes its part of every batch, and ends with the same fitted model: that of one process.

It needs Ray: ``pip install "skbig[cluster]"``. It starts processes, so the build of this page does not run it; a test
does.
"""

# %%
# Ray Train starts the workers, on whatever machines the cluster has, and initialises the process group; ``fit`` finds
# it. So the function that each worker runs is the script as it would be without Ray, and what it returns in the first
# worker comes back to the caller. A fitted model holds arrays of NumPy only, and may be sent.
import numpy as np
import ray
import ray.train
from ray.train.torch import TorchTrainer
from sklearn.datasets import load_digits

from skbig import BigMLPClassifier


def train(config):
    X, y = ray.get(config["rows"])
    model = BigMLPClassifier(**config["parameters"], backend="ddp").fit(X, y)
    ray.train.report({"accuracy": model.score(X, y)})
    return model


# %%
# Rows that are put into Ray's object store are in memory once on each machine, and its workers read them there. Do not
# give each worker a shard of its own, as ``ray.train.get_dataset_shard`` does: parts of every batch are taken from the
# rows that all have, and other rows in another worker are an error.
X, y = load_digits(return_X_y=True)
X = X / 16
parameters = {"hidden_layer_sizes": (64,), "schedule": "cosine", "max_iter": 20, "random_state": 0}

ray.init(num_cpus=2)  # here; a cluster that is running is joined by ray.init(address="auto")
trainer = TorchTrainer(
    train,
    train_loop_config={"rows": ray.put((X, y)), "parameters": parameters},
    # With use_gpu=True each worker has a GPU, and the group is one of NCCL.
    scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
)
model = trainer.fit().return_value
ray.shutdown()
print(f"accuracy {model.score(X, y):.3f}")

# %%
# The model is the one that a single process trains.
alone = BigMLPClassifier(**parameters).fit(X, y)
for one, other in zip(model.coefs_, alone.coefs_, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)

# sphinx_gallery_thumbnail_path = "_static/with_ray.svg"
