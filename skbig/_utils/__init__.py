"""What all rooms stand on.

`component.py` is a choice with hyperparameters of its own, and the registry of their names; `late_names.py` loads what
is asked for; `validation.py` says what a parameter may be, in the one form of an error. `random.py` draws numbers that
are a function of where they are used; `reduction.py` sums with the same bits on any number of threads; `sparse.py` is a
batch of sparse rows; `threads.py` says on how many threads torch computes.
"""
