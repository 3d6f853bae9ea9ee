"""A product is torch's own, whichever kernel computes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import sparse

from skbig._utils.sparse import sparse_rows
from skbig._utils.threads import thread_count
from skbig.networks import products as ours
from skbig.networks.products import affine
from tests.networks.leaves import gradients, tensors

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="torch was built without oneDNN",
)


@pytest.mark.parametrize("members", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize("shape", [(7, 5, 4), (1, 5, 1), (7, 1, 4), (300, 5, 4)], ids=str)
def test_affine(members: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    """It is a product and a sum, with torch's gradients, for one member or several and for any shape."""
    rows, n_in, n_out = shape
    X, weight, bias = tensors((*members, rows, n_in), (*members, n_in, n_out), (*members, 1, n_out))
    actual = gradients(affine(X, weight, bias), X, weight, bias)
    expected = gradients(torch.einsum("...ri,...io->...ro", X, weight) + bias, X, weight, bias)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("kind", ["first", "inner"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_affine_in_every_dtype(kind: str, dtype: torch.dtype) -> None:
    """The first layer's rows need no gradient; either way each dtype gives what a product in it gives."""
    X, weight, bias = tensors((20, 6), (6, 3), (1, 3), dtype=dtype)
    leaves = (X, weight, bias) if kind == "inner" else (weight, bias)
    X = X if kind == "inner" else X.detach()
    actual, expected = gradients(affine(X, weight, bias), *leaves), gradients(X @ weight + bias, *leaves)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@needs_onednn
@pytest.mark.parametrize("shape", [(17, 6, 5), (1, 6, 5), (17, 1, 1), (64, 128, 32)], ids=str)
@pytest.mark.parametrize("needs_X", [True, False])
def test_the_onednn_product_is_the_product(shape: tuple[int, int, int], needs_X: bool) -> None:
    """oneDNN's kernel gives the product and the gradients that addmm gives."""
    rows, n_in, n_out = shape
    X, weight, bias = tensors((rows, n_in), (n_in, n_out), (1, n_out), dtype=torch.float32)
    X = X if needs_X else X.detach()
    leaves = (X, weight, bias) if needs_X else (weight, bias)
    actual = gradients(ours._OneDnnAffine.apply(X, weight, bias), *leaves)
    expected = gradients(torch.addmm(bias.double(), X.double(), weight.double()), *leaves)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("members", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize("shape", [(17, 6, 3), (1, 6, 5), (17, 6, 1), (64, 128, 32)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("needs_X", [True, False])
def test_the_transposed_product_is_the_product(
    members: tuple[int, ...], shape: tuple[int, int, int], dtype: torch.dtype, needs_X: bool
) -> None:
    """For few outputs the transposed product gives the product and the gradients that torch gives."""
    rows, n_in, n_out = shape
    X, weight, bias = tensors((*members, rows, n_in), (*members, n_in, n_out), (*members, 1, n_out), dtype=dtype)
    X = X if needs_X else X.detach()
    leaves = (X, weight, bias) if needs_X else (weight, bias)
    actual = gradients(ours._NarrowAffine.apply(X, weight, bias), *leaves)
    torch.testing.assert_close(actual, gradients(X @ weight + bias, *leaves), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("members", [(), (2,), (3,)], ids=["one", "two", "three"])
def test_the_transposed_product_has_the_same_bits_on_any_number_of_threads(
    members: tuple[int, ...], dtype: torch.dtype
) -> None:
    """The outputs, and the gradients of weight and bias, do not depend on the cores."""
    results = []
    for n_threads in (1, 2, 4, 8):
        X, weight, bias = tensors((*members, 64, 100), (*members, 100, 26), (*members, 1, 26), dtype=dtype)
        with thread_count(n_threads):
            results.append(gradients(ours._NarrowAffine.apply(X.detach(), weight, bias), weight, bias))
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0], strict=True))


SIZES = {
    "small": ((), 20, 30, 70),
    "few outputs": ((), 200, 300, 3),
    "one output": ((), 200, 300, 1),
    "large": ((), 200, 300, 100),
    "largest": ((), 300, 300, 200),
    "small stack": ((2,), 20, 16, 3),
    "stack": ((2,), 200, 300, 70),
    "stack with few outputs": ((2,), 200, 300, 3),
    "stack with one output": ((2,), 200, 300, 1),
    "stack with few inputs": ((2,), 2000, 12, 3),
}
TURNED = {"few outputs": "turned", "stack with few outputs": "turned", "stack with one output": "turned"}
PROCESSORS = {
    "vendor_id : GenuineIntel\ncpu family : 6": {},
    "vendor_id : AuthenticAMD\ncpu family : 25": TURNED | {"largest": "oneDNN"},
    "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD": TURNED | {"largest": "oneDNN"},
    "vendor_id : AuthenticAMD\ncpu family : 26": TURNED | {"large": "oneDNN", "largest": "oneDNN"},
}


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A processor that is looked at in place of the own one."""
    known = (ours._mkl_is_slow, ours._mkl_takes_twice_as_long)
    for answer in known:
        answer.cache_clear()
    monkeypatch.setattr(ours, "_processor", lambda: request.param)
    monkeypatch.setattr(ours.platform, "machine", lambda: "x86_64")
    yield request.param
    for answer in known:
        answer.cache_clear()


@needs_onednn
def test_each_kernel_has_its_sizes(processor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large products and those with few outputs take another kernel where torch's own is slow, to the same result."""
    calls: list[str] = []
    for kernel, name in {ours._OneDnnAffine: "oneDNN", ours._NarrowAffine: "turned"}.items():
        apply = kernel.apply
        monkeypatch.setattr(kernel, "apply", lambda *a, name=name, apply=apply: calls.append(name) or apply(*a))
    used = {}
    for name, (members, rows, n_in, n_out) in SIZES.items():
        leaves = tensors((*members, rows, n_in), (*members, n_in, n_out), (*members, 1, n_out), dtype=torch.float32)
        X, weight, bias = leaves
        expected = gradients(X @ weight + bias, *leaves)
        torch.testing.assert_close(gradients(affine(*leaves), *leaves), expected, rtol=1e-4, atol=1e-3)
        used[name] = "".join(calls)
        calls.clear()
    assert {name: kernel for name, kernel in used.items() if kernel} == PROCESSORS[processor]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_sparse_rows(dtype: torch.dtype) -> None:
    """Sparse rows give the product, and the weight's gradient, of the same rows written out."""
    dense = np.random.RandomState(0).normal(size=(30, 8))
    dense[np.abs(dense) < 1.2] = 0
    dense[4:7], dense[:, 3] = 0, 0
    X = sparse.csr_array(dense, dtype=np.float64 if dtype == torch.float64 else np.float32)
    weight, bias = tensors((8, 3), (1, 3), dtype=dtype)
    placed = sparse_rows(X, torch.device("cpu"), for_training=True)
    actual = gradients(affine(placed, weight, bias), weight, bias)
    expected = gradients(torch.from_numpy(X.toarray()).to(dtype) @ weight + bias, weight, bias)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_sparse_rows_that_are_all_empty(rows: int) -> None:
    """Rows without any entry, or no rows at all, give the intercepts."""
    weight, bias = tensors((8, 3), (1, 3))
    placed = sparse_rows(sparse.csr_array((rows, 8), dtype=np.float64), torch.device("cpu"), for_training=True)
    result, gradient = gradients(affine(placed, weight, bias), weight)
    torch.testing.assert_close(result, bias.detach().expand(rows, 3))
    torch.testing.assert_close(gradient, torch.zeros(8, 3, dtype=torch.float64))
