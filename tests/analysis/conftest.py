"""Fixtures of the analysis tests: the synthetic sweep, written once, and its tables."""

import importlib.util
from pathlib import Path

import pytest

from analysis import frame


def _synthetic():
    path = Path(__file__).with_name("synthetic.py")
    spec = importlib.util.spec_from_file_location("synthetic_sweep", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic():
    return _synthetic()


@pytest.fixture(scope="session")
def root(synthetic, tmp_path_factory):
    """A root with the whole synthetic sweep; tests leave its run folders as they are."""
    folder = tmp_path_factory.mktemp("sweep")
    synthetic.write_sweep(folder)
    return folder


@pytest.fixture(scope="session")
def tables(root):
    return frame.collect(root, "micro")[0]
