"""
On a Dask cluster
=================

The workers of a Dask cluster become the ranks of one training: each makes itself a member of a process group, calls
``fit`` with the same rows and parameters, and computes its part of every batch. All end with the same fitted model:
that of one process.

It needs Dask: ``pip install "skbig[cluster]"``. It starts processes, so the build of this page does not run it; a test
does.
"""

# %%
# This is what a worker runs. ``fit`` finds the process group that it has initialised; ``"nccl"`` is the one for GPUs,
# with one worker for each, as ``dask_cuda.LocalCUDACluster`` starts them.
import socket

import numpy as np
from dask.distributed import Client, LocalCluster, as_completed
from sklearn.datasets import load_digits
from torch import distributed

from skbig import BigMLPClassifier


def train_as_rank(rank, n_ranks, address, X, y, parameters):
    distributed.init_process_group("gloo", init_method=f"tcp://{address}", rank=rank, world_size=n_ranks)
    try:
        return BigMLPClassifier(**parameters, backend="ddp").fit(X, y)
    finally:
        distributed.destroy_process_group()


# %%
# The ranks meet at the machine of the first worker, at a port that is free there.
def free_port():
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]


# %%
# There is one task for each worker, which has to run there and nowhere else, and all at the same time. The rows are
# sent to every worker once; where they are in files that all workers see, a path is enough, and each reads a memory
# map. When a rank fails the others miss it and fail too, and whoever is the first to be heard of says so.
def train(client, X, y, parameters):
    workers = client.scheduler_info(n_workers=-1)["workers"]
    first, n_ranks = next(iter(workers)), len(workers)
    port = client.submit(free_port, workers=[first], pure=False).result()
    address = f"{workers[first]['host']}:{port}"
    rows = client.scatter([X, y], broadcast=True)
    models = [
        client.submit(train_as_rank, rank, n_ranks, address, *rows, parameters, workers=[worker], pure=False)
        for rank, worker in enumerate(workers)
    ]
    for model in as_completed(models):
        if model.status == "error":
            model.result()
    return models[0].result()


# %%
# Two worker processes on this machine, in the place of a cluster.
def main():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    parameters = {"hidden_layer_sizes": (64,), "schedule": "cosine", "max_iter": 20, "random_state": 0}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        model = train(client, X, y, parameters)
    print(f"accuracy {model.score(X, y):.3f}")

    # The model is the one that a single process trains.
    alone = BigMLPClassifier(**parameters).fit(X, y)
    for one, other in zip(model.coefs_, alone.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


if __name__ == "__main__":  # the workers of this cluster import the script
    main()

# sphinx_gallery_thumbnail_path = "_static/with_dask.svg"
