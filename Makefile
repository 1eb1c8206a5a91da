# `make help` explains every target. SCALE=smoke|mini|scratch|paper, SEEDS=n, RUNS=n, RUN=<hash>.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SCALE ?=
SEEDS ?= 0
DOCS ?= .venv/docs
RUNS ?= 10
export NO_ALBUMENTATIONS_UPDATE = 1
# Tests ask nobody, and run on the CPU even where there are GPUs.
TESTED = CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 WANDB_MODE=offline
REPRODUCE = $(BIN)/python -m lpwd.reproduce

TARGETS := table1 table2 table3 figure1 figure2 figure3 figure4 figure5 figure6 moredecay claims report controls rivals draw all

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test bench test-launchers test-faults lint format doctor plan recheck forget clean-results pretrain notebooks test-report $(TARGETS)

help: ## Show what there is to make
	@echo "lpwd: Layer-wise Pre-weight Decay, reproduced"
	@echo
	@grep -hE '^[a-z0-9-]+( [a-z0-9-]+)*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 42
	@echo
	@echo "SCALE=smoke   digits and micro models, minutes on two CPU cores"
	@echo "SCALE=mini    real CIFAR and micro models, hours on two CPU cores"
	@echo "SCALE=scratch real CIFAR, micro models from scratch; hours too (docs/scratch.md first)"
	@echo "SCALE=paper   the paper's own setting, for a GPU box (the default where there is a GPU)"
	@echo "SEEDS=5       adds five fresh seeds at the chosen rates: intervals in tables and claims"

# The stamp is made last: a setup that was interrupted starts again.
setup: .venv/ready ## Build .venv with everything that is needed
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -e '.[experiments,dev,examples]' -c constraints.txt
	@touch $@

demo: setup ## Table 1 and Figure 1 at smoke scale, in minutes
	@$(REPRODUCE) demo

table1 table2 table3: setup ## Train what is missing, then write the table to results/<scale>/
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
figure1 figure2 figure3 figure4 figure5: setup ## Train what is missing, then draw the figure
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
figure6: setup ## Not in the paper: robustness to λ as a curve (with SEEDS=5)
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
moredecay: setup ## WD and LPWD beyond the grid, 4 to 60 times its largest λ, into Figure 6
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
controls: setup ## The controls that the paper lacks: what each part of LPWD contributes
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
rivals: setup ## Other decays than the paper's, over all rates: cautious, geometric, equal in the mean
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
claims: setup ## Hold the paper's claims against what is stored
	@$(REPRODUCE) $@ --scale '$(SCALE)'
report: setup ## All of it as one page to open in a browser: results/<scale>/report.html
	@$(REPRODUCE) $@ --scale '$(SCALE)'
draw: setup ## Every table, figure and claim from what is stored; trains nothing
	@$(REPRODUCE) $@ --scale '$(SCALE)'
all: setup ## Every table, figure and claim
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'

doctor: setup ## Is all here that a scale needs? Driver, data, weights, disk, a step of each model
	@$(REPRODUCE) $@ --scale '$(SCALE)' --seeds '$(SEEDS)'
plan: setup ## Count the runs of every target: needed, stored, left; hours and disk
	@$(REPRODUCE) plan --scale '$(SCALE)' --seeds '$(SEEDS)'
recheck: setup ## Train RUNS=10 stored runs again, drawn at random, and compare every number
	@$(REPRODUCE) recheck --scale '$(SCALE)' --runs '$(RUNS)' --run '$(RUN)'
forget: setup ## Drop one stored run: make forget RUN=<hash> SCALE=<scale>
	@$(REPRODUCE) forget --scale '$(SCALE)' --run '$(RUN)'
clean-results: setup ## Drop all stored runs, tables and figures of SCALE
	@$(REPRODUCE) clean-results --scale '$(SCALE)'

pretrain: setup ## Pretrain a micro model: make pretrain MODEL=convnext_micro (docs/weights.md)
	$(BIN)/python scripts/pretrain.py model=$(MODEL)

notebooks: .venv/notebooks-ready ## Open notebooks/ in JupyterLab, which is installed first
	$(BIN)/jupyter lab notebooks
.venv/notebooks-ready: .venv/ready
	$(BIN)/python -m pip install --quiet -e '.[experiments,notebooks]' -c constraints.txt
	@touch $@
test: setup lint ## Format, types and all tests; under ten minutes on two cores
	$(TESTED) $(BIN)/python -m pytest -n 2 --dist loadfile --nbmake tests notebooks --ignore tests/browser
test-report: setup ## The report in a real browser (chromium and chromium-driver)
	$(BIN)/python -m pytest -rs tests/browser
test-launchers: .venv/slurm/ready .venv/ray/ready ## Run submitit and Ray, each in an environment of its own
	$(TESTED) .venv/slurm/bin/python -m pytest tests/launchers/test_submitit.py
	$(TESTED) .venv/ray/bin/python -m pytest tests/launchers/test_ray.py
.venv/slurm/ready .venv/ray/ready: .venv/%/ready: pyproject.toml
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --upgrade pip
	.venv/$*/bin/python -m pip install -e '.[experiments,$*]' pytest -c constraints.txt
	@touch $@
test-faults: setup ## Kills and bad input by the hundred, a soak of 1,000 runs: docs/reliability.md
	$(TESTED) $(BIN)/python -m pytest -m 'long or not long' -o junit_family=xunit1 \
		--junitxml=.pytest_cache/faults.xml \
		tests/test_faults_long.py tests/test_faults.py tests/test_scarcity.py tests/config/test_bad_input.py
	$(BIN)/python -m scripts.reliability .pytest_cache/faults.xml
# Without --quiet, which would silence --strict.
docs: $(DOCS)/ready ## All pages and the API as a site to search and read offline: site/index.html
	@mkdir -p $(DOCS)/pages
	@ln -sfn $(CURDIR)/README.md $(CURDIR)/docs $(CURDIR)/examples $(CURDIR)/results $(CURDIR)/lpwd $(CURDIR)/tests $(DOCS)/pages
	NO_MKDOCS_2_WARNING=1 DOCS_PAGES=$(abspath $(DOCS))/pages $(DOCS)/bin/mkdocs build --strict
$(DOCS)/ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --group docs -c constraints.txt
	@touch $@
bench: setup ## Measure what things cost on this machine: results/bench/, docs/performance.md
	$(BIN)/python -m scripts.bench
lint: setup ## ruff and basedpyright
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright
format: setup ## Format and sort what can be
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
