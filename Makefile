# make demo            set up, train the twelve runs of Table 3 at small size on the embedded data, and report
# make test            set up, and check style, types and behaviour
# make soak            kill runs at random moments and fill their disk, for some minutes
# make test-ray        a sweep on a Ray cluster of two nodes on this machine, in an environment of its own
# make test-slurm      a sweep on a real one-node Slurm, for some minutes (root, Debian or Ubuntu: installs slurm-wlm and munge)
# make test-tutorials  the commands of docs/tutorials, as written (minutes)
# make test-gpu        every path that only a GPU takes, on this machine, with the packages of PYTHON=...
# make bench           how fast this machine is, compared with common alternatives, a table each (two hours; run nothing else)
# make bench-gpu       training and scoring on this machine's GPU (ten minutes), with the packages of PYTHON=...
# make bench-settings  does any other setting train net D faster than the default?
# make bench-lrn       local response normalisation compared with torch's
# make bench-data      training images compared with torchvision's and timm's loaders, from BENCH_IMAGES=folder or tar
# make bench-demo      the demo's runs by vgg-sweep and written plainly
# make bench-growth    time and memory against images, classes and depth
# make bench-index     an index of as many images as ILSVRC has: time, bytes, memory
# make bench-runs      twelve short runs at once, and one after another
# make bench-sweep     the overhead of a run in a sweep, and of sweeps that are done
# make bench-report    time and memory of reports on up to 1,000 synthetic runs
# make clean           remove the environment; outputs/ stays
# PYTHON=... names the Python to set up with; else the first of these that is 3.11 or newer.
PYTHON := python3 python3.14 python3.13 python3.12 python3.11

BIN := .venv/bin
READY := .venv/ready
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: demo test test-gpu test-tutorials soak test-ray test-slurm clean
.PHONY: bench bench-data bench-demo bench-gpu bench-growth bench-index bench-lrn bench-report bench-runs bench-settings bench-sweep

demo: $(READY)
	$(BIN)/vgg-sweep multirun experiment=demo
	$(BIN)/vgg-sweep report outputs/demo --format rich,md,csv,json,html --out outputs/demo/report
	@echo "The runs are in outputs/demo/, a folder each; the report is in outputs/demo/report/: open report.html in a browser."

test: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal
	$(BIN)/python -m tests.bench.guard

soak: $(READY)
	$(BIN)/pytest -s tests/soak.py

test-tutorials: $(READY)
	VGG_SWEEP_TUTORIALS=1 $(BIN)/python -m pytest -q tests/test_tutorials.py

# Ray's launcher and joblib's need different versions of cloudpickle, so Ray has an environment of its own.
test-ray: $(READY)
	test -x .venv-ray/bin/ray || { $(BIN)/python -m venv .venv-ray && .venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[ray]'; }
	.venv-ray/bin/python -m tests.ray.cluster

test-gpu:
	VGG_SWEEP_GPU_TEST_DEVICE=cuda $(firstword $(PYTHON)) -m pytest -v -W default tests/gpu

test-slurm: $(READY)
	$(BIN)/pytest -s tests/slurm/depth.py

bench: $(READY)
	$(BIN)/python -m tests.bench.beside model=D
	$(BIN)/python -m tests.bench.beside model=A
	$(BIN)/python -m tests.bench.beside model=E
	$(MAKE) bench-settings bench-lrn bench-runs bench-data bench-index bench-sweep bench-report bench-growth bench-demo

bench-settings: $(READY)
	$(BIN)/python -m tests.bench.settings model=D

bench-lrn: $(READY)
	$(BIN)/python -m tests.bench.lrn

bench-runs: $(READY)
	$(BIN)/python -m tests.bench.runs

bench-data: $(READY)
	$(if $(BENCH_IMAGES),,$(error name photographs: make bench-data BENCH_IMAGES=folder-or-tar))
	$(BIN)/python -m tests.bench.loaders data.root=$(BENCH_IMAGES) train_scale=jitter

bench-gpu:
	$(firstword $(PYTHON)) -m tests.bench.gpu

bench-demo: $(READY)
	$(BIN)/python -m tests.bench.demo

bench-growth: $(READY)
	$(BIN)/python -m tests.bench.growth

bench-index: $(READY)
	$(BIN)/python -m tests.bench.index

bench-report: $(READY)
	$(BIN)/python -m tests.bench.report

bench-sweep: $(READY)
	$(BIN)/python -m tests.bench.sweep

clean:
	rm -rf .venv .venv-ray

# An environment without pip is incomplete, and one of an older Python is unusable: both are made again.
# pip compiles on one core, compileall on all.
$(READY): pyproject.toml
	@$(BIN)/python $(IS_NEW_ENOUGH) 2>/dev/null && test -x $(BIN)/pip && exit; \
	for python in $(PYTHON); do \
	  if $$python $(IS_NEW_ENOUGH) 2>/dev/null; then echo "Making .venv with $$python"; exec $$python -m venv --clear .venv; fi; \
	done; \
	echo "vgg-sweep needs Python 3.11 or newer, and found none as: $(PYTHON). Install it, or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
	@echo "Installing into .venv (PyTorch is large: this takes some minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@
