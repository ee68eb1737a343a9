"""Peaks by the names that drivers report."""

import pytest

from slm.peaks import peak_flops

KNOWN = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "A100-SXM4-80GB": 312e12,
    "NVIDIA A10": 125e12,
    "NVIDIA A40": 149.7e12,
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835.5e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA H200 NVL": 835.5e12,
    "NVIDIA GH200 480GB": 989.4e12,
    "NVIDIA B200": 2.25e15,
    "NVIDIA GB200": 2.5e15,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362.05e12,
    "NVIDIA RTX A6000": 154.8e12,
    "NVIDIA GeForce RTX 3090": 71e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
    "AMD Instinct MI250X": 191.5e12,
    "AMD Instinct MI300X": 1307.4e12,
}

UNKNOWN = [
    None,
    "Tesla V100-SXM2-32GB",
    "Tesla T4",
    "NVIDIA A10G",
    "NVIDIA RTX A4000",
    "NVIDIA GeForce RTX 3090 Ti",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    "Apple M3",
]


@pytest.mark.parametrize("name", KNOWN)
def test_a_name_that_a_driver_reports_has_its_dense_peak(name):
    assert peak_flops(name, "bf16-mixed") == KNOWN[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_no_peak_is_guessed(name):
    assert peak_flops(name, "bf16-mixed") is None


def test_float32_has_no_peak_that_is_known_here():
    assert peak_flops("NVIDIA H200", "32-true") is None
