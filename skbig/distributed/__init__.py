"""Training by several processes: what the user chooses, and how the ranks of a launch train one set of members.

Read `backend.py` first: what `DDP`, `FSDP` and `TensorParallel` (`ddp.py`, `fsdp.py`, `tensor.py`) declare. A rank
talks to the others by `ranks.py`. The training loop of the engine knows it as `rank_processes.py`, the counterpart of
`engine/processes.py`, where there is one process. It takes steps by `rank_executor.py`; gradients are summed in
`data_parallel.py`, or in `deferred_allreduce.py` where each rank has a single thread. Where ranks hold parts of the
parameters, `sharding.py` cuts a training and puts it together again: its network is then `fully_sharded.py` or
`tensor_parallel.py`, cut by `cuts.py`, and its norms are `sharded_reductions.py`. `placement.py` tells whether this
process is in a launch already. Processes are started by the room `launch`; which of them trains what is decided in
`estimators/fit_runners.py` and `search/search_runners.py`.
"""

from skbig.distributed.ddp import DDP
from skbig.distributed.fsdp import FSDP
from skbig.distributed.tensor import TensorParallel

__all__ = ["DDP", "FSDP", "TensorParallel"]
