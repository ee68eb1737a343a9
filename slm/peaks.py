"""Peak bf16 rate of accelerators, for the share of it that training reaches (MFU).

In: a device's name as its driver reports it. Out: dense FLOP/s of its matrix units, or None where it is not known.
Lightning's own table mixes in rates of the other cores (A40, A6000, RTX) and rates with sparsity, hence this one.
"""

import re

PEAK_FLOPS: dict[str, float] = {
    # NVIDIA datasheet of each; where it prints the rate with sparsity alone, half of that
    "GB200": 2.5e15,  # Blackwell datasheet: 5 PFLOPS with sparsity per GPU
    "B200": 2.25e15,  # Blackwell datasheet, HGX B200: 4.5 PFLOPS with sparsity per GPU
    "GH200": 989.4e12,  # the GPU of an H100 SXM
    "H200": 989.4e12,  # 1,979 TFLOPS with sparsity
    "H200 NVL": 835.5e12,  # 1,671 TFLOPS with sparsity
    "H100 80GB HBM3": 989.4e12,  # SXM; H100 architecture whitepaper: 989.4 dense
    "H100 NVL": 835.5e12,  # 1,671 TFLOPS with sparsity per GPU
    "H100 PCIe": 756e12,  # 1,513 TFLOPS with sparsity
    "A100": 312e12,  # SXM and PCIe alike
    "A30": 165e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "L40S": 362.05e12,
    "L40": 181.05e12,
    "L4": 121e12,  # 242 TFLOPS with sparsity
    # NVIDIA architecture whitepapers, bf16 with float32 accumulation, dense
    "RTX A6000": 154.8e12,  # Ampere GA102, appendix C
    "RTX 3090": 71e12,  # Ampere GA102, appendix A
    "RTX 4090": 165.2e12,  # Ada, appendix A
    # AMD product pages. ROCm shows each of the two dies of an MI250X (383 TFLOPS) as a device
    "MI250X": 191.5e12,
    "MI300X": 1307.4e12,
    "MI325X": 1307.4e12,
}
"""Words of a device's name -> dense bf16 FLOP/s. V100 and older have no bf16."""

_OTHER = re.compile(r"\b(MIG|Laptop|Max-Q|Mobile|Ti|D)\b")
"""Words of a name that mean a part of a device, or another chip under the same number."""


def peak_flops(device_name: str | None, precision: str) -> float | None:
    """Dense FLOP/s that a device's matrix units could do under a precision of `TrainConfig`.

    None for a CPU (no name), a device that the table does not know, and `32-true`, whose peak depends on whether
    PyTorch may use TF32. Whole words are compared, and the longest entry wins: an A10G is no A10.
    """
    if device_name is None or precision != "bf16-mixed" or _OTHER.search(device_name):
        return None
    known = [words for words in PEAK_FLOPS if re.search(rf"(?<!\w){words}(?!\w)", device_name)]
    return PEAK_FLOPS[max(known, key=len)] if known else None
