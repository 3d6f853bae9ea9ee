"""Worker processes: starting them, knowing that they are alive, and exchanging data with them.

Read `launcher.py` first: `launch` runs a function in several processes. Between the caller and its workers stands
`launcher_process.py`, kept for the next launch (`kept_launchers.py`); it forks the workers where it can
(`forked_worker.py`). A worker begins in `worker_main.py`, where it joins the others (`rendezvous.py`) and is given its
`WorkerContext`. `heartbeat.py` shows who makes progress, `failure_report.py` turns what went wrong into one error.
Processes that torchrun or SLURM has started are found in `rank_environment.py` instead. `worker_pool.py` keeps workers
for several tasks, and `mailbox.py` is how they and their caller talk: by files of a private folder
(`scratch_dir.py`), in which arrays are mapped (`serialization.py`); `portable.py` is the form in which errors and
warnings travel.
"""
