"""Weights of a captured model: stored once however often they are shared, in their own memory layout."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from partitioner.errors import BundleError
from partitioner.graph import Weight
from partitioner.trace.sizes import Sizes


class WeightStore:
    """Collects parameters, buffers and constants by the name of their value."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._weights: dict[str, Weight] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._keys: dict[tuple[object, ...], str] = {}

    def add(self, name: str, target: str, tensor: torch.Tensor) -> None:
        """Remember a weight; one that is another under a second name shares its key."""
        is_trainable = tensor.requires_grad
        tensor = tensor.detach().cpu()
        value = self._sizes.value(name, tensor)
        identity = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        key = self._keys.setdefault(identity, target) if tensor.numel() else target
        order = _dim_order(tensor)
        stored = tensor.permute(order) if order else tensor
        self._tensors[key] = torch.view_as_real(stored) if stored.is_complex() else stored
        self._weights[name] = Weight(value=value, key=key, dim_order=order, is_trainable=is_trainable)

    def weights(self, used: Set[str | None]) -> tuple[Weight, ...]:
        """Records of the weights that are used."""
        return tuple(weight for name, weight in self._weights.items() if name in used)

    def tensors(self, used: Set[str | None]) -> dict[str, torch.Tensor]:
        """Tensors to store, by key."""
        return {weight.key: self._tensors[weight.key] for weight in self.weights(used)}


def save(weights: Mapping[str, object], path: Path) -> None:
    """Write weights as safetensors. Complex ones are stored as pairs of reals.

    Raises:
        BundleError: the file cannot be written.
    """
    tensors = {key: tensor.clone().contiguous() for key, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise BundleError(f"cannot write {path.name}: {error}") from error


def _dim_order(tensor: torch.Tensor) -> tuple[int, ...]:
    """Axes from slowest to fastest where the tensor is dense but not row-major; else empty."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return ()
    order = tuple(sorted(range(tensor.dim()), key=lambda axis: tensor.stride(axis), reverse=True))
    return order if tensor.permute(order).is_contiguous() else ()
