"""How fast a card trains and predicts, beside others and beside what it can do at most."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.options import Options
from benchmarks.peers import HAS_SKORCH, Task, make_rows, network, shared, train_lean, train_skbig, train_skorch
from benchmarks.peers import trained as trained_by
from benchmarks.search import ON_GPU as SEARCH
from benchmarks.search import compare
from benchmarks.searchers import OURS, SKORCH, Contender
from benchmarks.speed import ON_GPU as SMALL
from benchmarks.timing import Row, Table, in_turn
from skbig import BigGridSearchCV, BigMLPClassifier
from skbig._utils.device import SingleDevice
from skbig.engine.executors.graph_loop import GraphLoop

LARGE = Task(512, (4096,) * 4, 8192, n_rows=10 * 8192, n_epochs=6, device="cuda")
QUICK = Task(20, (32, 32), 64, n_rows=640, n_epochs=2, device="cuda")

MANY_TIMES = 8
"""A contender that should be so many times slower is trained once: its time is long, and so varies little."""

SHARE_OF_PRODUCTS = 0.55
"""Of the rate of a card's bfloat16 products, what a training of a large network should come to."""

Train = Callable[[Task, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Speeds(Table):
    """A table, and what else was measured of each contender."""

    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Plain facts, by name."""

    values: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return self.values

    def __str__(self) -> str:
        return "".join(f"\n  {name}: {value}" for name, value in self.values.items())


def synchronized(run: Callable[[], Any]) -> float:
    """Return the seconds that a run takes until the card has done it."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - began


@cache
def product_rate(precision: str) -> float:
    """Return the floating point operations a second of a large product."""
    size, dtype = 8192, torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.randn(size, size, dtype=dtype, device="cuda") for _ in range(2))
    with SingleDevice(one.device, torch.float32, tf32=precision == "tf32").products():
        one @ other
        seconds = min(synchronized(lambda: [one @ other for _ in range(5)]) for _ in range(3))
    return 5 * 2.0 * size**3 / seconds


def ceilings(seconds_left: float, quick: bool) -> Facts:
    """What the card does at most."""
    del seconds_left, quick
    rates = {f"product, {name} (TFLOP/s)": round(product_rate(name) / 1e12, 1) for name in ("float32", "tf32", "bf16")}
    large = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(large)
    copied = min(synchronized(lambda: other.copy_(large)) for _ in range(3))
    host = torch.empty(2**28, dtype=torch.uint8)
    host.zero_()
    pinned = host.pin_memory()
    to_card = {
        name: min(synchronized(lambda memory=memory: memory.to("cuda")) for _ in range(3))
        for name, memory in {"pageable": host, "pinned": pinned}.items()
    }
    return Facts(
        {
            **rates,
            "copy on the card, read and write (TB/s)": round(2 * large.numel() / copied / 1e12, 2),
            **{f"to the card, {name} (GB/s)": round(host.numel() / s / 1e9, 1) for name, s in to_card.items()},
        }
    )


def work_of_step(task: Task) -> float:
    """Return the floating point operations in the products of a step: no gradient of the rows is needed."""
    sizes = (task.n_features, *task.hidden, task.n_classes)
    weights = [before * after for before, after in pairwise(sizes)]
    return task.batch_size * (6.0 * sum(weights) - 2.0 * weights[0])


def facts_of(train: Train, task: Task, X: np.ndarray, y: np.ndarray, seconds: float, precision: str) -> dict[str, Any]:
    """Measure once more, beside the clock: memory at its peak, and launches of a step."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    train(task, X, y)
    rate = task.n_steps / seconds
    return {
        "steps a second": round(rate),
        "share of the product rate": round(rate * work_of_step(task) / product_rate(precision), 4),
        "peak memory (MB)": round(torch.cuda.max_memory_allocated() / 2**20),
        "launches a step": round(launches(train, task, X, y), 2),
    }


def launches(train: Train, task: Task, X: np.ndarray, y: np.ndarray) -> float:
    """Return how many launches, of kernels or of graphs, a step takes."""
    n_steps = {}
    for n_epochs in (1, 2):  # what is done once for a training is left out
        short = replace(task, n_epochs=n_epochs)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            train(short, X, y)
        count = Counter(event.name for event in profile.events())
        n_steps[n_epochs] = sum(n for name, n in count.items() if "LaunchKernel" in name or "GraphLaunch" in name)
    return (n_steps[2] - n_steps[1]) / (task.n_steps / task.n_epochs)


def train_compiled(task: Task, X: np.ndarray, y: np.ndarray) -> float:
    """Train the lean loop's network and loss as torch compiles them for little overhead."""
    compiled = COMPILED.get(task.hidden)
    if compiled is None:
        torch.manual_seed(0)
        net = network(task).to(task.device)
        optimizer = torch.optim.Adam(net.parameters(), capturable=True, fused=True)

        @torch.compile(mode="reduce-overhead")
        def loss_of(rows: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(net(rows), classes)

        compiled = COMPILED[task.hidden] = (optimizer, loss_of)
    optimizer, loss_of = compiled
    rows, classes = torch.from_numpy(X).to(task.device), torch.from_numpy(y).to(task.device)
    total = torch.zeros((), device=task.device)
    for _ in range(task.n_epochs):
        for batch in torch.randperm(len(rows), device=task.device).split(task.batch_size):
            torch.compiler.cudagraph_mark_step_begin()
            loss = loss_of(rows[batch], classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
    return total.item() / len(rows) / task.n_epochs


COMPILED: dict[Any, Any] = {}
"""Compiled once: its time is not compared."""


def train_lean_fused(task: Task, X: np.ndarray, y: np.ndarray, *, bf16: bool = False) -> float:
    """Train as the lean loop, with torch's fused Adam; in bfloat16 by autocast."""
    torch.manual_seed(0)
    net = network(task).to(task.device)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    rows, classes = torch.from_numpy(X).to(task.device), torch.from_numpy(y).to(task.device)
    loss = torch.zeros(())
    for _ in range(task.n_epochs):
        total = torch.zeros((), device=task.device)
        for batch in torch.randperm(len(rows), device=task.device).split(task.batch_size):
            with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
                raw = net(rows[batch])
            loss = nn.functional.cross_entropy(raw.float(), classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        loss = total / len(rows)
        loss.item()
    return loss.item()


def compared(
    task: Task, contenders: dict[str, tuple[Train, float | None]], precision: str, repeats: int, head: str
) -> Speeds:
    """Train with each in turn, after a short training that sets it up; what fails is left out, with a note.

    What takes many times as long as the first is trained once.
    """
    X, y = make_rows(task)
    short = replace(task, n_epochs=1)
    notes, ready = [], {}
    for name, (train, _) in contenders.items():
        try:
            train(short, X, y)
            ready[name] = train
        except Exception as error:
            notes.append(f"{name} failed: {type(error).__name__}: {str(error)[:300]}")
    runs = {name: (lambda train=train: train(task, X, y)) for name, train in ready.items()}
    slow = {name: run for name, run in runs.items() if (contenders[name][1] or 0) >= MANY_TIMES}
    timed = in_turn({name: run for name, run in runs.items() if name not in slow}, repeats) | in_turn(slow, 1)
    rows = [Row(name, seconds, contenders[name][1], loss) for name, (seconds, loss) in timed.items()]
    facts = {}
    for row in rows:
        if "skorch" not in row.name:
            facts[row.name] = facts_of(ready[row.name], task, X, y, row.median, precision)
            notes.append(f"{row.name}: {', '.join(f'{key} {value:,}' for key, value in facts[row.name].items())}")
    return Speeds(f"{head}{task}: {task.size()}", task.n_steps, "step", rows, notes, facts=facts)


def small(seconds_left: float, quick: bool) -> Speeds:
    """Train a network whose steps are launches more than anything."""
    del seconds_left
    task = QUICK if quick else SMALL
    contenders: dict[str, tuple[Train, float | None]] = {
        "skbig": (train_skbig, None),
        "lean torch": (train_lean, 8),
        "lean torch, fused": (train_lean_fused, None),
        "torch.compile": (train_compiled, 1.5),
        "skbig, tf32": (lambda task, X, y: train_skbig(task, X, y, "tf32"), None),
        "skbig, bf16": (lambda task, X, y: train_skbig(task, X, y, "bf16"), None),
    }
    if HAS_SKORCH:
        contenders["skorch"] = (train_skorch, 25)
    return compared(task, contenders, "float32", 1 if quick else 3, f"{torch.cuda.get_device_name()}: ")


def large(seconds_left: float, quick: bool) -> Speeds:
    """Train a network whose steps are products more than anything."""
    del seconds_left
    task = QUICK if quick else LARGE
    contenders: dict[str, tuple[Train, float | None]] = {
        "skbig, bf16": (lambda task, X, y: train_skbig(task, X, y, "bf16"), None),
        "lean torch, fused, bf16": (lambda task, X, y: train_lean_fused(task, X, y, bf16=True), 0.97),
    }
    found = compared(task, contenders, "bf16", 1 if quick else 3, f"{torch.cuda.get_device_name()}, bf16: ")
    share = found.facts.get("skbig, bf16", {}).get("share of the product rate", 0.0)
    judgement = "ok" if share >= SHARE_OF_PRODUCTS else "short"
    note = (
        f"skbig, bf16: {share:.0%} of the card's product rate, of which {SHARE_OF_PRODUCTS:.0%} are wanted: {judgement}"
    )
    return replace(found, notes=[*found.notes, note])


def search(seconds_left: float, quick: bool) -> Table:
    """Search 64 candidates over 5 folds, beside graphed fits one after another and skorch, in parts."""
    del seconds_left
    contenders = {
        "BigGridSearchCV": Contender(OURS, kind=BigGridSearchCV),
        "skbig, one by one": Contender(OURS, 8, n_run=4),
    }
    if HAS_SKORCH:
        contenders["skorch"] = Contender(SKORCH, 100, n_run=1)
    table, searched, _ = compare(SEARCH, Options(repeats=1, quick=quick), contenders)
    seconds = table.rows[0].median
    used = searched.n_steps * work_of_step(searched.task) / seconds
    speed = f"{searched.n_steps / seconds:,.0f} steps of a member a second"
    share = f"{used / product_rate('float32'):.1%} of the product rate"
    return replace(table, notes=[*table.notes, f"BigGridSearchCV: {speed}, {share}."])


def predict(seconds_left: float, quick: bool) -> Table:
    """Predict many rows of the host; copies to the card and back are a part of it."""
    del seconds_left
    n_rows = 10_000 if quick else 10_000_000
    task = replace(SMALL, n_rows=20_000, n_epochs=1)
    X, y = make_rows(task)
    model = BigMLPClassifier(**shared(task), device="cuda")
    trained_by(model, task, X, y)
    many = np.tile(X, (n_rows // len(X) + 1, 1))[:n_rows]
    net = network(task).to("cuda").eval()

    def lean() -> np.ndarray:
        with torch.no_grad():
            rows = torch.from_numpy(many).to("cuda")
            return np.concatenate([net(part).argmax(1).cpu().numpy() for part in rows.split(2**20)])

    timed = in_turn({"skbig": lambda: model.predict(many), "lean torch": lean}, 1 if quick else 3)
    rows = [Row(name, seconds, 0.9 if name == "lean torch" else None) for name, (seconds, _) in timed.items()]
    return Table(f"predict {n_rows:,} rows: {task}", n_rows, "row", rows)


def phases(seconds_left: float, quick: bool) -> Facts:
    """Where the time of a fit goes: making graphs, launching, and the kernels of some steps."""
    del seconds_left
    task = replace(QUICK if quick else SMALL, n_epochs=2)
    X, y = make_rows(task)
    train_skbig(task, X, y)
    spent: Counter[str] = Counter()
    originals = {name: getattr(GraphLoop, name) for name in ("capture", "load", "launch")}

    def timed(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            torch.cuda.synchronize()
            began = time.perf_counter()
            result = originals[name](*args)
            torch.cuda.synchronize()
            spent[name] += time.perf_counter() - began
            return result

        return call

    try:
        for name in originals:
            setattr(GraphLoop, name, timed(name))
        whole = synchronized(lambda: train_skbig(task, X, y))
    finally:
        for name, original in originals.items():
            setattr(GraphLoop, name, original)
    plain = synchronized(lambda: train_skbig(task, X, y))
    values: dict[str, Any] = {"fit of two epochs (ms)": round(1e3 * plain, 1), "the same, timed": round(1e3 * whole, 1)}
    values |= {f"{name} (ms)": round(1e3 * seconds, 1) for name, seconds in spent.items()}
    return Facts(values | kernels(task, X, y))


def kernels(task: Task, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return the kernels of a step, the longest first: their microseconds and how many there are."""
    model = BigMLPClassifier(**shared(replace(task, n_epochs=4)), device="cuda")
    kinds = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds) as profile:
        trained_by(model, replace(task, n_epochs=4), X, y)
    totals: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in profile.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            totals[event.name] += event.time_range.elapsed_us()
            counts[event.name] += 1
    n_steps = 2 * task.n_steps
    lines = [
        f"{totals[name] / n_steps:8.2f} us {counts[name] / n_steps:6.2f} x {name[:110]}"
        for name, _ in totals.most_common(40)
    ]
    return {"kernels (us a step)": round(sum(totals.values()) / n_steps, 1), "kernels": "\n    ".join(["", *lines])}


SECTIONS: dict[str, Callable[[float, bool], Any]] = {
    "ceilings": ceilings,
    "small": small,
    "large": large,
    "predict": predict,
    "search": search,
    "phases": phases,
}
