"""Attention, recurrence and text: integers in, masks, sizes that vary."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.models.case import Case, case, picture


class VisionTransformer(nn.Module):
    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.patch, self.blocks = nn.Conv2d(3, width, 8, 8), block
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Attention(nn.Module):
    """``nn.MultiheadAttention`` with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mix(x)


class Fused(nn.Module):
    """Scaled dot-product attention called by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(n, t, c))


@case
def vision_transformer() -> Case:
    return Case(module=VisionTransformer(nn.Sequential(Attention(16), Attention(16)), 16), args=(picture(),))


@case
def vision_transformer_fused() -> Case:
    module = VisionTransformer(nn.Sequential(Fused(16), Fused(16)), 16)
    return Case(module=module, args=(picture(batch=2),), dynamic=("x=n:1..8",))


class TextEncoder(nn.Module):
    """Integer ids, a boolean mask; batch and length vary."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(50, width, padding_idx=0), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=True, norm_first=True)
        self.layers = nn.ModuleList([layer, nn.TransformerEncoderLayer(width, 2, 32, batch_first=True)])
        self.head = nn.Linear(width, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.token(ids) + self.place(places)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        weight = mask.unsqueeze(-1).to(x.dtype)
        pooled = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        return {"logits": self.head(pooled), "states": x, "lengths": mask.sum(1)}


@case
def text_encoder() -> Case:
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 5:] = False
    return Case(
        module=TextEncoder(), args=(torch.randint(1, 50, (2, 7)), mask), dynamic=("ids=b:1..8,t:2..64", "mask=b,t")
    )


class Decoder(nn.Module):
    """Causal attention with rotary positions; the embedding is also the output's weight."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.token, self.norm = nn.Embedding(40, width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 40, bias=False)
        self.head.weight = self.token.weight
        self.register_buffer("frequencies", 100.0 ** -torch.arange(0, 1, 2 / (width // 2)))

    def forward(self, ids: Tensor) -> Tensor:
        n, t = ids.shape
        x = self.token(ids)
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, 2, -1).permute(2, 0, 3, 1, 4).unbind(0)
        angles = torch.arange(t, dtype=torch.float32)[:, None] * self.frequencies
        q, k = self.turned(q, angles), self.turned(k, angles)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(y.transpose(1, 2).reshape(n, t, -1)))

    @staticmethod
    def turned(x: Tensor, angles: Tensor) -> Tensor:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1).flatten(-2)


@case
def tied_embedding_decoder() -> Case:
    return Case(module=Decoder(), args=(torch.randint(0, 40, (2, 6)),), dynamic=("ids=b:1..8,t:2..32",))


@case
def recurrent() -> Case:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 8, num_layers=2, batch_first=True, bidirectional=True)
            self.gru, self.head = nn.GRU(16, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            y, state = self.lstm(x)
            y, _ = self.gru(y)
            return self.head(y[:, -1]), state

    return Case(module=Recurrent(), args=(torch.randn(2, 5, 6),))


@case
def waveform_spectrum() -> Case:
    """Complex numbers cross some cuts."""

    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filter = nn.Parameter(torch.randn(17, dtype=torch.complex64))
            self.mix = nn.Linear(32, 32)

        def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
            spectrum = torch.fft.rfft(wave) * self.filter
            return self.mix(torch.fft.irfft(spectrum, n=32)), spectrum.abs().log1p()

    return Case(module=Spectrum(), args=(torch.randn(2, 32),))
