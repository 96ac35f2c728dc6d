"""One evaluation and one training pass of a network in PyTorch."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict

from fastscale_jax.interop import torch_twin
from tests.passes import SMOOTHING, Outcome


def torch_outcome(
    config: ConfigDict,
    state_dict: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: tuple[int, ...],
    precision: str,
) -> Outcome:
    """What the twin makes of the same. It is fed BGR, as the reference's weights want.

    Images of other than three channels are fed as they are.
    """
    dtype = getattr(torch, precision)
    twin = torch_twin.build(config).to(dtype)
    twin.load_state_dict({k: torch.from_numpy(x) for k, x in state_dict.items()}, strict=True)
    order = -1 if images.shape[1] == 3 else 1
    bgr = torch.from_numpy(images[:, ::order].copy()).to(dtype)
    with torch.no_grad():
        eval_logits = twin.eval()(bgr)
    train_logits = twin.train()(bgr)
    loss = F.cross_entropy(train_logits, torch.tensor(labels), label_smoothing=SMOOTHING)
    loss.backward()
    return Outcome(
        eval_logits.numpy(),
        train_logits.detach().numpy(),
        loss.item(),
        {name: p.grad.numpy() for name, p in twin.named_parameters()},
        {name: b.numpy() for name, b in twin.named_buffers() if "running" in name},
    )
