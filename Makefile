# Two front doors: `make demo` walks from spoken stories to fitted laws, `make test` checks everything.
# From git, python3 (3.11 or newer) and make alone; everything is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
SCALE := micro
INSTALLED := .venv/.installed

.PHONY: demo interleaved test test-fairseq2 check figures clean

demo: $(INSTALLED)
	$(BIN)/python -m data prepare --scale $(SCALE)
	$(BIN)/python -m experiments train all --scale $(SCALE)
	$(BIN)/python -m analysis collect --scale $(SCALE)
	$(BIN)/python -m analysis fit --scale $(SCALE)
	$(BIN)/python -m data compare --scale $(SCALE)
	$(BIN)/python -m paper_figures --scale $(SCALE)

# At 25 Hz only what is trained on, and the facts.
MIXED := '[!d]*/vq12.5' '*-[ST]/joint-vq12.5' '*-[ST][ST]/joint-vq12.5' '*-A/joint-vq12.5' '*/text' \
	'stories-*/vq25' 'stories-*-[ST]/joint-vq25' 'stories-*-[ST][ST]/joint-vq25' 'knowledge-*-T/joint-vq25' 'facts*25'

# Speech and text: supervised tokenizers, models that speak text, interleaved stores, then the study; see the README.
interleaved: $(INSTALLED)
	printf '%s\n' stories-validation/vq25 stories-validation/vq12.5 | \
		xargs -P 2 -n 1 $(BIN)/python -m data prepare --scale $(SCALE)
	$(BIN)/python -m data prepare $(MIXED) --scale $(SCALE)
	$(BIN)/python -m experiments train text-to-token --only 'text-to-token/*' --scale $(SCALE)
	printf '%s\n' '*-I*/joint-vq12.5' '*-I/joint-vq25' | xargs -P 2 -n 1 $(BIN)/python -m data prepare --scale $(SCALE)
	$(BIN)/python -m experiments train interleaved --scale $(SCALE)
	$(BIN)/python -m analysis collect --scale $(SCALE)
	$(BIN)/python -m analysis fit --scale $(SCALE)
	$(BIN)/python -m data compare --scale $(SCALE)
	$(BIN)/python -m paper_figures --scale $(SCALE)

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu and not slurm and not real_data and not fairseq2 and not browser"

# The library's tests in an environment of their own, where fairseq2 and its torch live: about 7.5 GB.
test-fairseq2: .venv-fairseq2/.installed
	.venv-fairseq2/bin/python -m pytest -q tests/slm -m "not slow and not gpu and not slurm and not real_data"

.venv-fairseq2/.installed: pyproject.toml constraints-fairseq2.txt
	test -x .venv-fairseq2/bin/python || $(PYTHON) -m venv .venv-fairseq2
	.venv-fairseq2/bin/python -m pip install -q --disable-pip-version-check -c constraints-fairseq2.txt -e '.[fairseq2,tts,dev]'
	touch $@

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_imports.py

figures: $(INSTALLED)
	$(BIN)/python -m paper_figures --scale $(SCALE)

clean:
	rm -rf out .venv .venv-fairseq2 .pytest_cache .ruff_cache .hypothesis *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[tts,dev]'
	touch $@
