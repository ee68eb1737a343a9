"""Bytes of one training step on a device, and how many windows of an update fit into its memory at once.

In: a `ModelConfig`, windows of `context` tokens, a precision. Out: bytes, counted tensor by tensor as autograd keeps
them for our Llama block with SDPA. Compiled blocks keep fewer; other architectures are taken for such blocks.
D width, F hidden, H heads, V vocabulary or, under a shared codebook, its codes.
"""

from slm.flops import head_rows, params_embedding, params_non_embedding, params_total
from slm.spec import ModelConfig

LOGITS_BYTES = 2**28
"""Float32 logits that the loss makes at once; larger ones it makes in chunks of this size. A choice: enough rows to
keep a GPU busy at any vocabulary, and little beside its memory."""


def loss_tokens(rows: int) -> int:
    """Tokens whose logits the loss makes at once, where the head has so many rows."""
    return max(1, LOGITS_BYTES // (4 * rows))


def step_bytes(model: ModelConfig, windows: int, precision: str, shards: int = 1) -> dict[str, float]:
    """Bytes at the peak of an update that goes through `windows` at a time, on each device.

    `weights`, `gradients`, `optimizer` (two float32 moments of AdamW), `activations` (what the forward pass keeps),
    `working` (what the backward pass needs beside them) and their `total`. `shards` devices share the first three
    under fsdp2. `precision` as in `TrainConfig`.
    """
    weights, tokens = 4.0 * params_total(model), windows * model.context
    # fsdp2 keeps the embeddings whole from forward to backward, and of the blocks the one at work and the next one
    block = params_non_embedding(model) / model.layers
    whole = 4.0 * (params_embedding(model) + 2 * block) if shards > 1 else 0.0
    parts = {
        "weights": weights / shards + whole,
        "gradients": weights / shards + whole,
        "optimizer": 2 * weights / shards,
        "activations": _activations(model, tokens, precision),
        "working": _working(model, tokens),
    }
    return parts | {"total": sum(parts.values())}


def windows_that_fit(model: ModelConfig, rows: int, precision: str, bytes_available: float, shards: int = 1) -> int:
    """The largest divisor of `rows`, the windows of an update that one device goes through, whose step fits.

    `ValueError` if one window does not fit.
    """
    for windows in range(rows, 0, -1):
        if rows % windows == 0 and step_bytes(model, windows, precision, shards)["total"] <= bytes_available:
            return windows
    needed = step_bytes(model, 1, precision, shards)["total"]
    raise ValueError(
        f"a step of one window of {model.context:,} tokens takes {needed / 1e9:.2f} GB, and a device has "
        f"{bytes_available / 1e9:.2f} GB for it: share the weights among more devices (fsdp2), or take a smaller model"
    )


def _activations(model: ModelConfig, tokens: int, precision: str) -> float:
    """What autograd keeps from the forward pass, without the loss."""
    half = precision == "bf16-mixed"
    size = 2 if half else 4  # bytes of a number that comes out of a matrix product
    width, hidden = model.width, model.hidden
    norm = 4 * width + 4 + 4 * width  # its float32 input, 1 / rms, and the normalised input before the norm's weight
    block = (
        norm  # before attention
        + (3 * 2 if half else 4) * width  # input of the q, k and v projections; autocast casts it for each
        + 3 * size * width  # q and k after rotation, v
        + 4 * model.heads  # log-sum-exp of the scores
        + size * width  # output of attention, input of the output projection
        + norm  # before SwiGLU
        + (2 * 2 if half else 4) * width  # input of the gate and up projections; autocast casts it for each
        + 4 * size * hidden  # gate, its SiLU, up, and the product of the last two: input of the down projection
    )
    ends = 2 * 8 + norm + size * width  # ids of inputs and targets; the last norm, and the head's input
    rotation = 2 * 4 * model.context * width / model.heads  # cosines and sines, shared by all windows and blocks
    # autocast casts every matrix once and keeps it; fsdp2 gathers the weights before, so shards do not help
    casts = 2.0 * (params_non_embedding(model) + head_rows(model) * width) if half else 0.0
    return float(tokens * (model.layers * block + ends) + rotation + casts)


def _working(model: ModelConfig, tokens: int) -> float:
    """The larger of what the backward pass needs in the loss and, once that is gone, in the last block."""
    rows = head_rows(model)
    at_once = min(tokens, loss_tokens(rows))
    loss = 3 * 4 * at_once * rows  # log-probabilities, their gradient, the logits' gradient
    head = 4 * rows * model.width  # its gradient, before it joins the one of earlier windows
    if at_once < tokens:
        loss += head + 2 * 4 * tokens * model.width  # another chunk's; gradients of the hidden states, then joined
    block = 4 * tokens * (model.hidden + model.width)  # gradients of SwiGLU's product and of the residual stream
    return float(head + max(loss, block))
