# One command for each habit, the same here and in continuous integration.

# The first Python that is new enough; `make PYTHON=python3.12 ...` chooses another.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)
# How many tests run at a time; each of them computes on one thread.
WORKERS ?= 2

.PHONY: help example test test-thorough test-oldest test-cluster test-doors test-saved-model test-types test-text test-federated test-coverage fuzz lint docs bench gpu dist clean

help:
	@echo "make example       train on digits and diabetes, beside MLPClassifier"
	@echo "make test          the everyday tests: of large crossings each value once, and few processes"
	@echo "make test-thorough all other tests, which continuous integration runs, too"
	@echo "make test-oldest   all tests with the oldest supported scikit-learn and torch (on Linux 3 GB are pulled)"
	@echo "make test-cluster  what runs inside Ray, on Dask and on several machines"
	@echo "make test-doors    what TensorBoard, MLflow, MLServer, ONNX Runtime, captum, SHAP and Triton's client make of ours"
	@echo "make test-text     texts and images with pretrained models; one of 83 MB is pulled"
	@echo "make test-saved-model what TensorFlow makes of a model that is written for it"
	@echo "make test-types    what mypy and pyright say of a user's script"
	@echo "make test-federated clients and a server of Flower's, as processes of this machine"
	@echo "make test-coverage the whole test suite, and which lines of skbig it does not reach"
	@echo "make fuzz          random calls, for SECONDS=60; what breaks a law is told with its seed"
	@echo "make lint          ruff and mypy"
	@echo "make docs          the documentation, into docs/_build/html"
	@echo "make bench         how fast, beside others"
	@echo "make gpu           tests and speeds on a card, within ten minutes, with the Python that is there"
	@echo "make dist          wheel and sdist, installed and tried in a clean environment"
	@echo "make clean         remove what these commands made"

example: .venv/.test
	.venv/bin/python examples/quickstart.py

test: .venv/.test
	.venv/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not thorough"

test-thorough: .venv/.test
	.venv/bin/python -m pytest -n $(WORKERS) --dist worksteal -m thorough

# On Linux, torch 2.6 comes with CUDA: about 3 GB are pulled, and take 6 GB. With PIP_EXTRA_INDEX_URL set to PyTorch's own
# index of CPU builds pip takes that build, which is a tenth.
test-oldest: .venv-oldest/.test
	.venv-oldest/bin/python -m pytest -n $(WORKERS) --dist worksteal

test-cluster: .venv/.cluster
	.venv/bin/python -m pytest tests/test_documents.py tests/distributed/test_machines.py -k "with_ or machines"

test-doors: .venv-doors/.doors .venv-mlserver/.mlserver .venv-privacy/.privacy
	.venv-doors/bin/python -m pytest tests/doors
	.venv-doors/bin/python -m pytest tests/test_documents.py -k "onnx or out_into_the_world"
	.venv-mlserver/bin/python -m pytest tests/doors/test_mlserver.py
	.venv-privacy/bin/python -m pytest tests/doors/test_accounting.py
	.venv-privacy/bin/python -m pytest tests/test_documents.py -k "privacy"

# Models are folders here: no hub is asked.
test-text: .venv-text/.pretrained
	HF_HUB_OFFLINE=1 .venv-text/bin/python -m pytest tests/pretrained
	HF_HUB_OFFLINE=1 .venv-text/bin/python -m pytest tests/test_documents.py -k "pretrained or text/ or image/"

test-saved-model: .venv-tensorflow/.saved-model
	.venv-tensorflow/bin/python -m pytest tests/doors/test_saved_model.py
	.venv-tensorflow/bin/python -m pytest tests/test_documents.py -k "saved_model"

test-federated: .venv-flower/.federated
	.venv-flower/bin/python -m pytest tests/federated
	.venv-flower/bin/python -m pytest tests/test_documents.py -k "federated"

test-coverage: .venv/.coverage
	.venv/bin/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-report=html

# Random parameters, inputs, sequences of calls and kills: make fuzz SECONDS=600
SECONDS ?= 60
fuzz: .venv/.test
	.venv/bin/python -m tests.fuzz --seconds $(SECONDS)

lint: .venv/.lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test-types: .venv/.lint
	.venv/bin/python -m pytest tests/typing

docs: .venv/.docs
	.venv/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Nothing is installed: on a machine with a card torch is there, and is the one that fits it.
gpu:
	$(PYTHON) -m benchmarks.gpu --out gpu-report

# Other servers, and Opacus, are asked, too, in environments of their own.
SERVERS = --server mlserver=$(CURDIR)/.venv-mlserver/bin/python --server bentoml=$(CURDIR)/.venv-bentoml/bin/python
OPACUS = --opacus $(CURDIR)/.venv-opacus/bin/python
bench: .venv/.bench .venv-mlserver/.mlserver .venv-bentoml/.bentoml .venv-opacus/.opacus
	.venv/bin/python -m benchmarks $(SERVERS) $(OPACUS) $(BENCH)

# The wheel is built from the sdist, so what is tried is what both hold; nothing of this folder can be imported.
dist: .venv/.dist
	rm -rf build dist .venv-dist
	.venv/bin/python -m build
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && ../.venv-dist/bin/python -I ../.ci/try_installed.py

clean:
	rm -rf .venv .venv-oldest .venv-dist .venv-doors .venv-mlserver .venv-text .venv-privacy .venv-tensorflow .venv-bentoml .venv-opacus .venv-flower build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache htmlcov .coverage*
	rm -rf docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst
	rm -f *.png *.joblib examples/*.png examples/*.joblib

# An environment is a folder with one stamp per set of extras: what changes the versions makes the stamps old.

%/bin/python:
	@test -n "$(PYTHON)" || { echo "skbig needs Python 3.11 or newer; found none. Try: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $* || { rm -rf $*; exit 1; }

.venv/.%: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test,plot,progress,$*]"
	@touch $@

.venv-oldest/.%: pyproject.toml constraints-oldest.txt | .venv-oldest/bin/python
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[test,plot,progress,$*]"
	@touch $@

.venv-doors/.%: pyproject.toml constraints-doors.txt | .venv-doors/bin/python
	.venv-doors/bin/python -m pip install --quiet --constraint constraints-doors.txt --editable ".[test,plot,progress,$*]"
	@touch $@

.venv-text/.%: pyproject.toml constraints.txt constraints-text.txt | .venv-text/bin/python
	.venv-text/bin/python -m pip install --quiet --constraint constraints-text.txt --editable ".[test,plot,progress,$*]"
	@touch $@

.venv-mlserver/.%: pyproject.toml constraints-mlserver.txt | .venv-mlserver/bin/python
	.venv-mlserver/bin/python -m pip install --quiet --constraint constraints-mlserver.txt --editable ".[$*]"
	@touch $@

.venv-privacy/.%: pyproject.toml constraints-privacy.txt | .venv-privacy/bin/python
	.venv-privacy/bin/python -m pip install --quiet --constraint constraints-privacy.txt --editable ".[test,plot,progress,$*]"
	@touch $@

.venv-bentoml/.%: constraints-bentoml.txt | .venv-bentoml/bin/python
	.venv-bentoml/bin/python -m pip install --quiet --constraint constraints-bentoml.txt bentoml scikit-learn
	@touch $@

.venv-opacus/.%: constraints-opacus.txt | .venv-opacus/bin/python
	.venv-opacus/bin/python -m pip install --quiet --constraint constraints-opacus.txt opacus
	@touch $@

.venv-tensorflow/.%: pyproject.toml constraints-tensorflow.txt | .venv-tensorflow/bin/python
	.venv-tensorflow/bin/python -m pip install --quiet --constraint constraints-tensorflow.txt --editable ".[plot,$*]" pytest pandas psutil
	@touch $@

.venv-flower/.%: pyproject.toml constraints-flower.txt | .venv-flower/bin/python
	.venv-flower/bin/python -m pip install --quiet --constraint constraints-flower.txt --editable ".[plot,$*]" pytest psutil
	@touch $@

.PRECIOUS: %/bin/python .venv/.% .venv-oldest/.% .venv-doors/.% .venv-mlserver/.% .venv-text/.% .venv-privacy/.% .venv-tensorflow/.% .venv-bentoml/.% .venv-opacus/.% .venv-flower/.%
