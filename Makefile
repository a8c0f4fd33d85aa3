# make demo: the whole job on a small data set that it makes; make demo-ava: the same for action detection.
# make demo-long: what happens when, in a video of 12 minutes; make studio: the page, on a project with a small model.
# make test: the tests.  Each does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what Paddle's CPU build runs fastest with; what is set outside stays
export FLAGS_use_stride_kernel ?= 0
export OMP_NUM_THREADS ?= 1
# nproc gives OMP_NUM_THREADS where that is set
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)

.PHONY: setup demo demo-ava demo-long studio test-studio test-openvino test test-slow test-reliability lint format \
    bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cpu,test,demo]'
	@touch $@

demo: setup
	$(BIN)/python -m demo.run

demo-ava: setup
	$(BIN)/python -m demo.run_ava

demo-long: setup
	$(BIN)/python -m demo.run_long

studio: setup
	$(BIN)/python -m demo.run_studio
	$(BIN)/paddlevideo studio --project demo/studio/project --model demo/studio/export \
	    --add demo/studio/new/*.mp4 demo/studio/videos/*.mp4 --analysis window_s=2 hop_s=1 smooth_s=3 on=0.5 off=0.2

# with its pages in Debian's chromium, where that is there or can be installed
test-studio: setup
	@$(BIN)/python -c 'import axe_playwright_python, playwright' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet --editable '.[browser]'
	@sh tests/studio/install_chromium.sh
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup tests/studio

# OpenVINO is not in the test extra: a process that holds its models through thousands of other tests, with forks, crashed
test-openvino: setup
	$(BIN)/python -m pip install --quiet --editable '.[openvino]'
	for file in tests/unit/inference/test_formats.py tests/unit/inference/test_runtimes.py tests/models/test_formats.py; do \
	    $(BIN)/python -m pytest $$file || exit 1; done

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m 'not slow and not reliability' --ignore tests/studio

# the rest of them
test-slow: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m 'slow and not reliability' --ignore tests/studio

# every fault as often as the scorecard requires it; writes benchmarks/reliability.md
test-reliability: setup
	$(BIN)/python -m pytest -p tests.faults.scorecard --scorecard benchmarks/reliability.md -m scorecard \
	    -n $(JOBS) --dist loadgroup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
