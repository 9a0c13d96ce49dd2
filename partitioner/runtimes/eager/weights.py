"""Weights of one bundle on one device: each read from the file once, held once, and dropped when nobody needs it.

They are copied out of the mapped file, because there they lie on 8-byte boundaries, and matrix kernels round
differently on memory that is not aligned to a cache line (seen: AlexNet off by 1e-8 from the module it was captured
from).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from safetensors import SafetensorError, safe_open

from partitioner.bundle import Bundle
from partitioner.errors import BundleError
from partitioner.graph import Weight


class WeightTable:
    """Tensors by the name of their value; shared weights share a tensor."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._bundle = bundle
        self._device = device
        self._by_key: dict[str, torch.Tensor] = {}
        self._by_name: dict[str, torch.Tensor] = {}

    def get(self, names: Collection[str]) -> dict[str, torch.Tensor]:
        """Tensors by name, read from the file where they are not held yet.

        Raises:
            BundleError: the file does not hold what the graph says.
        """
        missing = [name for name in names if name not in self._by_name]
        if missing:
            self._read([self._bundle.graph.weight[name] for name in missing])
        return {name: self._by_name[name] for name in names}

    def keep(self, names: Collection[str]) -> None:
        """Drop every weight but these."""
        keys = {self._bundle.graph.weight[name].key for name in names}
        self._by_name = {name: tensor for name, tensor in self._by_name.items() if name in set(names)}
        self._by_key = {key: tensor for key, tensor in self._by_key.items() if key in keys}

    @property
    def nbytes(self) -> int:
        """Bytes held now; a shared weight counts once."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._by_key.values())

    def _read(self, weights: list[Weight]) -> None:
        path = self._bundle.weights_path
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                stored = set(file.keys())
                for weight in weights:
                    if weight.key not in stored:
                        raise BundleError(f"{path} lacks {weight.key!r}: pack the model again")
                    if weight.key not in self._by_key:
                        self._by_key[weight.key] = file.get_tensor(weight.key).to(self._device, copy=True)
                    self._by_name[weight.name] = self._shaped(weight, self._by_key[weight.key])
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from error

    @staticmethod
    def _shaped(weight: Weight, stored: torch.Tensor) -> torch.Tensor:
        dtype: torch.dtype = getattr(torch, weight.value.dtype)
        order = weight.dim_order or tuple(range(len(weight.value.shape)))
        shape = (*(weight.value.shape[axis] for axis in order), *((2,) if dtype.is_complex else ()))
        if tuple(stored.shape) != shape or stored.dtype != (dtype.to_real() if dtype.is_complex else dtype):
            raise BundleError(f"weight {weight.key!r} is not of the shape and dtype that the graph says: pack again")
        tensor = torch.view_as_complex(stored) if dtype.is_complex else stored
        tensor = tensor.permute([order.index(axis) for axis in range(len(order))])
        if weight.is_trainable and (dtype.is_floating_point or dtype.is_complex):
            return torch.nn.Parameter(tensor)  # matmul picks its kernel by this, and with it the last bit
        return tensor
