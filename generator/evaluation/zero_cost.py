"""Zero-cost scores: what an untrained network tells about how well it would train, from one batch.

Each takes a freshly built network, images (n, C, H, W) and labels (n,), and leaves the network as it was. A
score that is not defined, because the output does not depend on the input, is not-a-number. Larger is better
for all of them. Definitions follow the published code of Abdelfattah et al., "Zero-Cost Proxies for
Lightweight NAS", ICLR 2021 (snip, grad_norm, synflow, jacov), Mellor et al., "Neural Architecture Search
without Training", ICML 2021 (nwot), and Lin et al., "Zen-NAS", ICCV 2021 (zen).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.errors import UserError, unknown_name

Score = Callable[[nn.Module, Tensor, Tensor], float]

ZEN_REPEATS, ZEN_IMAGES = 8, 16
"""Random initialisations that zen is averaged over, and most images of each; the paper takes 32 and 64."""
ZEN_STEP = 0.01
"""Size of zen's disturbance of the input."""
JACOV_FLOOR = 1e-5
"""Added to eigenvalues by jacov, as published."""


def nwot(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """How differently the images switch the ReLUs on: log determinant of K (n, n).

    K[i, j] counts the units that images i and j switch alike, over all `nn.ReLU` modules (Mellor et al.,
    equation 2, summed over layers as in the published code).

    Raises:
        UserError: The network has no ReLU module.
    """
    total = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    inner = _fresh(network)
    layers = [module for module in inner.modules() if isinstance(module, nn.ReLU)]
    if not layers:
        raise UserError("nwot needs a network with nn.ReLU modules, and this one has none: leave nwot out.")

    def count(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        on = (inputs[0] > 0).flatten(1).float()
        ones = on.sum(1)
        # a a' + (1 - a)(1 - a)' without the second product
        total.add_(2 * on @ on.T + on.shape[1] - ones[:, None] - ones[None])

    for layer in layers:
        layer.register_forward_hook(count)
    with torch.no_grad():
        inner(x)
    return _number(torch.linalg.slogdet(total).logabsdet)


def jacov(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """How little the gradients of the images resemble each other (Mellor et al., first version of the paper).

    With v the eigenvalues of the correlation matrix of the images' input gradients: -sum(log(v) + 1 / v).
    """
    images = x.clone().requires_grad_()
    _fresh(network)(images).sum().backward()
    if images.grad is None:
        return math.nan
    correlation = torch.corrcoef(images.grad.flatten(1).double())
    if not torch.isfinite(correlation).all():
        return math.nan
    values = torch.linalg.eigvalsh(correlation).clamp_min(0) + JACOV_FLOOR
    return _number(-(values.log() + 1 / values).sum())


def grad_norm(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Sum over layers of the norm of the loss's gradient with respect to the weights."""
    inner = _fresh(network)
    functional.cross_entropy(inner(x), y).backward()
    return _sum(layer.weight.grad.norm() for layer in _layers(inner) if layer.weight.grad is not None)


def snip(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """How much the loss would change if single weights were cut: sum of |weight x gradient|.

    Lee, Ajanthan and Torr, ICLR 2019. Weights are drawn anew (Xavier, normal), as published.
    """
    inner = _fresh(network)
    for layer in _layers(inner):
        nn.init.xavier_normal_(layer.weight)
    functional.cross_entropy(inner(x), y).backward()
    return _sum(_saliency(layer).abs().sum() for layer in _layers(inner))


def synflow(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Logarithm of the flow through all paths: sum of weight x gradient (Tanaka et al., NeurIPS 2020).

    Weights are made positive and batch normalisation is taken out; the input is one image of ones, the "loss"
    the sum of the outputs. In double precision, since deep networks overflow the single one.
    """
    inner = _without_batch_norm(_fresh(network)).double()
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.abs_()
    inner(torch.ones_like(x[:1], dtype=torch.float64)).sum().backward()
    flow = _sum(_saliency(layer).sum() for layer in _layers(inner))
    return math.log(flow) if flow > 0 else math.nan


def zen(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """How strongly the features answer to a small change of the input: the Zen-score.

    Lin et al., equation 6. Weights and images are Gaussian noise, features those before the last pooling over
    the plane; the scale that batch normalisation takes away is given back. Of `x` only the shape is used.
    """
    inner, x = _fresh(network), x[:ZEN_IMAGES]
    found: list[Tensor] = []
    with torch.no_grad():
        for _ in range(ZEN_REPEATS):
            _gaussian(inner)
            noise = torch.randn_like(x)
            before = _features(inner, noise)
            after = _features(inner, noise + ZEN_STEP * torch.randn_like(x))
            change = (before - after).abs().flatten(1).sum(1).mean().log()
            norms = [module for module in inner.modules() if isinstance(module, nn.BatchNorm2d)]
            scale = sum(
                0.5 * module.running_var.mean().log() for module in norms if module.running_var is not None
            )
            found.append(change + scale)
    return _number(torch.stack(found).mean())


SCORES: dict[str, Score] = {
    "nwot": nwot, "synflow": synflow, "jacov": jacov, "snip": snip, "grad_norm": grad_norm, "zen": zen,
}  # fmt: skip
"""The scores by name."""


def score_network(
    network: nn.Module, x: Tensor, y: Tensor, names: Sequence[str] = tuple(SCORES), *, seed: int = 0
) -> dict[str, float]:
    """Score one network.

    Args:
        network: Freshly built, untrained; left as it was.
        x: Images (n, C, H, W), standardised, on the network's device.
        y: Labels (n,).
        names: Which scores, of `SCORES`.
        seed: Of what snip and zen draw; torch's own random state is not touched.

    Returns:
        Score by name; not-a-number where it is not defined.

    Raises:
        UnknownNameError: No such score.
        UserError: nwot for a network without ReLU modules.
    """
    for name in names:
        if name not in SCORES:
            raise unknown_name("zero-cost score", name, SCORES)
    found: dict[str, float] = {}
    for name in names:
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            found[name] = SCORES[name](network, x, y)
    return found


def _fresh(network: nn.Module) -> nn.Module:
    """A copy in training mode whose gradients are empty."""
    inner = copy.deepcopy(network).train()
    inner.zero_grad(set_to_none=True)
    return inner


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _saliency(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Weight x gradient; zero where the output does not depend on the layer."""
    if layer.weight.grad is None:
        return torch.zeros_like(layer.weight)
    return layer.weight.detach() * layer.weight.grad


def _without_batch_norm(network: nn.Module) -> nn.Module:
    """The network with every batch normalisation replaced by nothing."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network


def _gaussian(network: nn.Module) -> None:
    """Weights from N(0, 1), biases zero, batch normalisation as if new."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _features(network: nn.Module, x: Tensor) -> Tensor:
    """What goes into the last adaptive pooling; the logits where there is none."""
    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if not pools:
        return network(x)
    seen: list[Tensor] = []
    hook = pools[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x)
    hook.remove()
    return seen[-1]


def _sum(parts: Iterable[Tensor]) -> float:
    return _number(torch.stack([part.double() for part in parts]).sum())


def _number(value: Tensor) -> float:
    """The value, not-a-number if it is infinite."""
    number = float(value)
    return number if math.isfinite(number) else math.nan


__all__ = ["SCORES", "Score", "score_network", *SCORES]  # pyright: ignore[reportUnsupportedDunderAll]
