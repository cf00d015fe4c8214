# am_ros. `make help` lists what can be made; everything lands in .venv/, build/ and runs/.
#
# PYTHON=python3.11 chooses the interpreter of a new .venv; PIP_INSTALL_FLAGS adds to pip's command line, for instance
# an index with CPU builds of torch (its default build for Linux brings gigabytes of CUDA libraries).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The demo and the tests start hundreds of processes, and each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
CXX_COMPILER = $(firstword $(foreach c,$(CXX) c++ g++ clang++,$(shell command -v $(c))))

# A stamp's name carries the hash of what it was made from: other contents, another stamp, and the step runs again.
STAMPS := $(VENV)/stamps
hash = $(shell cat $(sort $(1)) 2>/dev/null | sha256sum | cut -c1-16)
PACKAGE_FILES := Makefile constraints.txt setup.py setup.cfg pyproject.toml package.xml $(wildcard config/* launch/* urdf/*)
MESSAGE_FILES := Makefile $(wildcard msg/package.xml msg/CMakeLists.txt msg/*/*)
PACKAGES := $(STAMPS)/packages-$(call hash,$(PACKAGE_FILES))
MESSAGES := $(STAMPS)/messages-$(call hash,$(MESSAGE_FILES))
COLCON := $(STAMPS)/colcon-$(call hash,Makefile constraints.txt)
CLUSTER := $(STAMPS)/cluster-$(call hash,Makefile constraints.txt)
BENCH := $(STAMPS)/bench-$(call hash,Makefile constraints.txt)
DOCS := $(STAMPS)/docs-$(call hash,Makefile constraints.txt)

# pybullet has wheels for 3.10 and 3.11; those come first. A version that pyenv only pretends to have does not count.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.10 python3 python3.12 python3.13,$(shell $(p) -c '' 2>/dev/null && echo $(p))))

.PHONY: help setup demo faults test flaky slow colcon bench docs lint clean distclean check-machine

help:  ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PACKAGES) $(MESSAGES)  ## Set up .venv: ROS 2 wheels, am_msgs, this package; about two minutes, then nothing
	@:

demo: setup  ## Record, train, and reach goals through ROS on the simulated workcell; results in runs/demo
	@$(BIN)/am-ros demo

faults: setup  ## Break it on purpose: kills, damage, full disks, bad input; a table, and results in runs/faults
	@$(BIN)/am-ros faults

# As many processes as there are cores, four at most: with one more, nodes were late by a second. The tests of a file
# share what takes long to make; the files keep the order of test/conftest.py.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: setup  ## Every test but the slow ones
	@$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE)

N ?= 10
LOAD ?= 0
flaky: setup  ## The suite N=10 times beside LOAD=0 busy processes: what failed how often, kept in runs/flaky
	@$(BIN)/python benchmarks/flaky.py --runs $(N) --load $(LOAD) -- -m "not slow" $(SIDE_BY_SIDE)

slow: setup $(COLCON) $(CLUSTER)  ## The slow tests: the colcon build and long runs; before a release
	@$(BIN)/python -m pytest -m slow $(SIDE_BY_SIDE)

colcon: setup $(COLCON)  ## The colcon build alone, and a node started from it
	@$(BIN)/python -m pytest -m slow test/test_packaging.py

bench: setup $(BENCH)  ## Every benchmark at short sizes beside its peers, in docs/benchmarks.md; under ten minutes
	@$(BIN)/python benchmarks/all.py

docs: setup $(DOCS)  ## The documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build -q --strict
	@echo "docs: open build/site/index.html"

lint: setup  ## Style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

clean:  ## Remove build outputs and caches; keep .venv and runs
	@rm -rf build install log *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## Remove .venv and runs too
	@rm -rf $(VENV) runs

# What is missing is said in one sentence, before anything is written.
check-machine:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '' 2>/dev/null || { echo "make: $(or $(PYTHON),no Python 3.10 to 3.13) not found: install python3, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1): am_ros needs Python 3.10 to 3.13, name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments: install its venv package (apt: python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "make: $(PYTHON) has no Python.h, which am_msgs is compiled against: install its headers (apt: python3-dev)" >&2; exit 1; }
	@command -v git >/dev/null || { echo "make: git not found: install it (apt: git)" >&2; exit 1; }
	@[ -n "$(CXX_COMPILER)" ] || { echo "make: no C++ compiler found, which am_msgs is compiled with: install one (apt: g++)" >&2; exit 1; }
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "make: the ROS 2 wheels exist for Linux x86-64 only: on $$(uname -sm), install ROS 2 Jazzy and build with colcon (README)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] >= (3, 12))' || echo "For this Python pip compiles pybullet, which takes ten minutes or more; PYTHON=python3.11 or python3.10 spares it."

# pip comes last into a new environment: one that was interrupted is made again.
$(BIN)/pip:
	@$(MAKE) check-machine
	@echo "Making $(VENV) with $(PYTHON) ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv $(VENV)

# pip would compile on one core, and what nobody imports too. Some packages hold files of other Python versions.
COMPILE := $(BIN)/python -m compileall -q -q -j 0 -x '/(tests?|testing|pybullet_envs|pybullet_data)/'

AMENT_PACKAGES := $(VENV)/share/ament_index/resource_index/packages
# An editable install, so that edits count at once; what pip leaves out of one, ROS's share/, lib/ and marker, are links.
# `ros2 launch` looks into no folder that is a link: launch/ holds a link for each file.
# A connection that stalls is tried again after half a minute.
PIP = PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --timeout 30 --retries 8 install -q -c constraints.txt \
	$(PIP_INSTALL_FLAGS)

$(PACKAGES): | $(BIN)/pip
	@echo "Installing the Python packages that constraints.txt names (about a minute)"
	@$(PIP) pip setuptools wheel
	@$(PIP) --no-compile --no-build-isolation --editable '.[ros,test,page,cloud]'
	@$(COMPILE) $(VENV)/lib || true
	@mkdir -p $(VENV)/share/am_ros $(VENV)/lib/am_ros $(AMENT_PACKAGES)
	@ln -sfn $(addprefix $(CURDIR)/,config urdf package.xml) $(VENV)/share/am_ros
	@ln -sfn $(CURDIR)/resource/am_ros $(AMENT_PACKAGES)/am_ros
	@rm -rf $(VENV)/share/am_ros/launch && mkdir $(VENV)/share/am_ros/launch
	@ln -sfn $(CURDIR)/launch/*.launch.py $(VENV)/share/am_ros/launch
	@for name in $$($(BIN)/python -c 'from importlib.metadata import distribution as d; print(*(e.name for e in d("am_ros").entry_points))'); do \
	  ln -sfn ../../bin/$$name $(VENV)/lib/am_ros; done
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/packages-* && touch $@

# The wheels hold the CMake packages too: with both paths set to the environment, this is an ordinary ament build.
$(MESSAGES): | $(PACKAGES)
	@echo "Building the interfaces in msg/ (about half a minute)"
	@export PATH="$(abspath $(BIN)):$$PATH" AMENT_PREFIX_PATH=$(abspath $(VENV)) CMAKE_PREFIX_PATH=$(abspath $(VENV)); \
	mkdir -p build && \
	{ cmake -G Ninja -S msg -B build/am_msgs -DPython3_EXECUTABLE=$(abspath $(BIN))/python -DCMAKE_INSTALL_PREFIX=$(abspath $(VENV)) \
	  -DAM_MSGS_UNITY_BUILD=ON && ninja -C build/am_msgs install; } > build/am_msgs.log 2>&1 \
	|| { tail -n 30 build/am_msgs.log >&2; echo "make: msg/ did not build; the whole log is build/am_msgs.log" >&2; exit 1; }
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/messages-* && touch $@

$(COLCON): | $(PACKAGES)
	@$(PIP) --no-build-isolation --editable '.[ros,test,page,cloud,colcon]'
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/colcon-* && touch $@

$(CLUSTER): | $(PACKAGES)
	@$(PIP) --no-build-isolation --editable '.[ros,test,page,cloud,cluster]'
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/cluster-* && touch $@

$(BENCH): | $(PACKAGES)
	@$(PIP) --no-build-isolation --editable '.[ros,test,page,cloud,bench]'
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/bench-* && touch $@

$(DOCS): | $(PACKAGES)
	@$(PIP) --no-build-isolation --editable '.[ros,test,page,cloud,docs]'
	@mkdir -p $(STAMPS) && rm -f $(STAMPS)/docs-* && touch $@
