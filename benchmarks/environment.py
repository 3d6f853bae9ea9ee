"""What the machine does at most, which kernels multiply, and what in the environment would hold them back.

`OPENBLAS_CORETYPE` and its like hold a library to kernels of an older processor, and so make a contender slow: figures
measured under them say nothing.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import scipy
import sklearn
import torch
from threadpoolctl import threadpool_info

PREFIXES = ("OPENBLAS_", "GOTO_", "BLIS_", "MKL_", "NVPL_", "VECLIB_", "OMP_", "GOMP_", "KMP_", "DNNL_", "ONEDNN_")
NAMES = ("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES")

SET_BY_SKLEARN = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}
"""When it is imported; neither chooses anything."""
CLEARED = "SKBIG_BENCHMARKS_CLEARED"

SIZES = (1024, 2048)
QUICK_SIZES = (64,)
SECONDS_AT_LEAST = 0.3


def hobbles(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that choose kernels, threads or their places, which a library reads when it is loaded."""
    found = {name for name in environment if name.startswith(PREFIXES) or name in NAMES}
    return sorted(found - SET_BY_SKLEARN)


def begin_again_without_hobbles(module: str) -> None:
    """Start this program again without such variables, where there are any; its workers inherit what it has."""
    names = hobbles()
    if names and CLEARED not in os.environ:  # what an import sets again is told of, and not cleared for ever
        print(f"cleared, for this program and its workers: {', '.join(names)}", flush=True)
        free = {name: value for name, value in os.environ.items() if name not in names} | {CLEARED: "1"}
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], free)


@dataclass(frozen=True)
class Limits:
    """Floating point operations per second of one large product, by the fastest library: no program does more."""

    float32: float
    bf16: float
    found: dict[str, float]

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.found.items())
        return f"large products, GFLOP/s: {rates}"


def measured_limits(quick: bool = False) -> Limits:
    """Multiply square matrices, in each library and number format."""
    sizes, seconds = (QUICK_SIZES, 0.0) if quick else (SIZES, SECONDS_AT_LEAST)
    found = {
        "NumPy float32": max(rate_of_numpy(size, seconds) for size in sizes),
        "torch float32": max(rate_of_torch(size, seconds, torch.float32) for size in sizes),
        "torch bf16": max(rate_of_torch(size, seconds, torch.bfloat16) for size in sizes),
    }
    return Limits(max(found["NumPy float32"], found["torch float32"]), found["torch bf16"], found)


def rate_of_numpy(size: int, seconds: float) -> float:
    """Return the floating point operations per second of NumPy's float32 product."""
    matrix = np.random.default_rng(0).random((size, size), dtype=np.float32)
    made = np.empty_like(matrix)
    best = np.inf
    began = perf_counter()
    while perf_counter() - began < seconds or best == np.inf:
        start = perf_counter()
        np.matmul(matrix, matrix, out=made)
        best = min(best, perf_counter() - start)
    return 2.0 * size**3 / best


def rate_of_torch(size: int, seconds: float, dtype: torch.dtype, device: str = "cpu") -> float:
    """Return the floating point operations per second of torch's product."""
    matrix = torch.rand(size, size, device=device).to(dtype)
    made = torch.empty_like(matrix)
    torch.mm(matrix, matrix, out=made)
    _wait(device)
    best = np.inf
    began = perf_counter()
    while perf_counter() - began < seconds or best == np.inf:
        start = perf_counter()
        torch.mm(matrix, matrix, out=made)
        _wait(device)
        best = min(best, perf_counter() - start)
    return 2.0 * size**3 / best


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def kernels() -> dict[str, str]:
    """Return which library multiplies for each contender, with which kernels and on how many threads."""
    numpy, of_scipy = (blas_of(package) for package in ("numpy", "scipy"))
    own = f"torch {torch.__version__}: {blas_of_torch()}"
    return {
        "MLPClassifier": f"NumPy {np.__version__}: {numpy}; its lbfgs SciPy {scipy.__version__}: {of_scipy}",
        "skbig, skorch, lean torch": own,
    }


def blas_of(package: str) -> str:
    """Return the BLAS that a package has loaded."""
    for library in threadpool_info():
        place = library["filepath"].replace("\\", "/")
        if library["user_api"] == "blas" and (f"/{package}.libs/" in place or f"/{package}/" in place):
            return _described(library)
    shared = [_described(library) for library in threadpool_info() if library["user_api"] == "blas"]
    return shared[0] if shared else "no BLAS that threadpoolctl knows"


def _described(library: Mapping[str, object]) -> str:
    kernel = library.get("architecture") or library.get("threading_layer") or "kernel unknown"
    return f"{library['internal_api']} {library['version']}, {kernel}, {library['num_threads']} threads"


def blas_of_torch() -> str:
    """Return what torch is built with, and the kernels that it chose on this processor."""
    built = torch.__config__.show()
    parts = [f"{name} {found[1]}" for name, pattern in BUILT_WITH.items() if (found := re.search(pattern, built))]
    capability = torch.backends.cpu.get_cpu_capability()
    return ", ".join([*parts, capability, f"{torch.get_num_threads()} threads"])


BUILT_WITH = {
    "MKL": r"Math Kernel Library Version (\S+?)(?:-| )",
    "oneDNN": r"MKL-DNN v(\S+)",
    "OpenBLAS": r"OpenBLAS (\S+)",
}


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    facts = {
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "load": load(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def load() -> str:
    """Return how many programs have wanted a core in the last minute, beside how many cores there are."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return f"{os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def is_busy() -> bool:
    """Say whether others use the machine, so that the figures mean little."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5


def processor() -> str:
    """Return the name of the processor."""
    names = (line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def multiplies_bf16() -> bool:
    """Return whether the processor multiplies bfloat16: by AVX-512, or by the tiles of AMX."""
    flags = {flag for line in cpuinfo() if line.startswith("flags") for flag in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def cpuinfo() -> list[str]:
    """Return what Linux says about the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
