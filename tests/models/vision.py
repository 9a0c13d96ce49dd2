"""Convolutional networks and their relatives: branches, long skips, several scales, windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.models.case import Case, case, conv, picture


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = conv(inputs, 4, 1)
        self.three = nn.Sequential(conv(inputs, 4, 1), conv(4, 6))
        self.five = nn.Sequential(conv(inputs, 2, 1), conv(2, 4, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(inputs, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


@case
def googlenet_concat() -> Case:
    body = nn.Sequential(conv(3, 8, stride=2), Inception(8), nn.MaxPool2d(2), Inception(16), Inception(16))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 10))
    return Case(module=nn.Sequential(body, head), args=(picture(),))


class Dense(nn.Module):
    """Every layer sees the outputs of all before it."""

    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inputs + i * growth), nn.ReLU(), nn.Conv2d(inputs + i * growth, growth, 3, padding=1)
            )
            for i in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


@case
def densenet_skips() -> Case:
    module = nn.Sequential(
        conv(3, 8), Dense(8, 4, 4), conv(24, 12, 1), nn.AvgPool2d(2), Dense(12, 4, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip
    return Case(module=module, args=(picture(size=16),))


class UNet(nn.Module):
    """Skips from the first layers to the last."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.down3 = conv(1, 4), conv(4, 8), conv(8, 16)
        self.up2, self.up1 = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.merge2, self.merge1, self.out = conv(16, 8), conv(8, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        c = self.down3(functional.max_pool2d(b, 2))
        b = self.merge2(torch.cat([self.up2(c), b], 1))
        a = self.merge1(torch.cat([self.up1(b), a], 1))
        return self.out(a)


@case
def unet() -> Case:
    return Case(module=UNet(), args=(picture(1),))


class Detector(nn.Module):
    """A feature pyramid: three scales cross most cuts; answers are lists and dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([conv(3, 8, stride=2), conv(8, 12, stride=2), conv(12, 16, stride=2)])
        self.lateral = nn.ModuleList([nn.Conv2d(n, 8, 1) for n in (8, 12, 16)])
        self.boxes, self.classes = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor] | Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        levels = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for i in (1, 0):
            levels[i] = levels[i] + functional.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        scores = torch.cat([self.classes(level).flatten(2) for level in levels], 2).sigmoid()
        best, where = scores.max(dim=1)[0].topk(5)
        return {"boxes": [self.boxes(level) for level in levels], "scores": scores, "best": best, "where": where}


@case
def detector_three_scales() -> Case:
    return Case(module=Detector(), args=(picture(size=48),))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand, self.depthwise = (
            conv(channels, 2 * channels, 1),
            conv(2 * channels, 2 * channels, groups=2 * channels),
        )
        self.down, self.up = nn.Conv2d(2 * channels, 4, 1), nn.Conv2d(4, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        gate = self.up(functional.silu(self.down(functional.adaptive_avg_pool2d(y, 1)), inplace=True))
        return x + self.project(y * functional.hardsigmoid(gate))


@case
def efficientnet_style() -> Case:
    module = nn.Sequential(conv(3, 6, stride=2), SqueezeExcite(6), SqueezeExcite(6), nn.Hardswish())
    return Case(module=module, args=(picture(),), dynamic=())


class Shuffle(nn.Module):
    """Half of the channels pass by; then channels of both halves alternate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = conv(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        passed, worked = x.chunk(2, dim=1)
        x = torch.cat([passed, self.branch(worked)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@case
def channel_shuffle() -> Case:
    module = nn.Sequential(conv(3, 8), Shuffle(8), Shuffle(8), nn.ChannelShuffle(4), nn.PixelShuffle(2))
    return Case(module=module, args=(picture(size=12, batch=2),), dynamic=("input=n:1..8",))


class ConvNeXt(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.wide = nn.LayerNorm(channels), nn.Linear(channels, 4 * channels)
        self.narrow, self.scale = nn.Linear(4 * channels, channels), nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


@case
def convnext_permutes() -> Case:
    return Case(module=nn.Sequential(nn.Conv2d(3, 8, 4, 4), ConvNeXt(8), ConvNeXt(8)), args=(picture(),))


class Windows(nn.Module):
    """Attention in shifted windows: roll, partition, mask, back."""

    def __init__(self, width: int, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn((2 * side - 1) ** 2, 2) * 0.1)
        grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        offsets = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0) + side - 1
        self.register_buffer("index", offsets[..., 0] * (2 * side - 1) + offsets[..., 1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        s = self.side
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        q, k, v = self.qkv(y).reshape(-1, s * s, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) / (c // 2) ** 0.5 + self.bias[self.index].permute(2, 0, 1)
        y = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, s * s, c))
        y = y.view(n, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + torch.roll(y, (self.shift, self.shift), (1, 2))


@case
def swin_windows() -> Case:
    module = nn.Sequential(Windows(8, 4, 0), Windows(8, 4, 2), nn.LayerNorm(8))
    return Case(module=module, args=(torch.randn(1, 8, 8, 8),))


class Warp(nn.Module):
    """A spatial transformer: the picture is sampled where a small network says."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 6))
        self.after = conv(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        grid = functional.affine_grid(self.where(x).view(-1, 2, 3), list(x.shape), align_corners=False)
        y = functional.grid_sample(x, grid, align_corners=False)
        return functional.interpolate(self.after(y), size=(20, 20), mode="bilinear", align_corners=False)


@case
def spatial_transformer() -> Case:
    return Case(module=Warp(), args=(picture(size=16),))


class InPlace(nn.Module):
    """Writes to tensors that others read, as many published models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.first(x)
        early = a * 2
        functional.relu_(a)
        b = self.second(a)
        b[:, 0] += 1
        b += a
        b[:, 1:3].mul_(0.5)
        a.clamp_(max=0.5)
        return early, torch.relu_(b) + a


@case
def writes_in_place() -> Case:
    return Case(module=InPlace(), args=(picture(size=8),))


@case
def one_and_three_dimensions() -> Case:
    class Volume(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wave = nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2))
            self.space = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.InstanceNorm3d(2), nn.ELU(), nn.AvgPool3d(2))
            self.back = nn.ConvTranspose3d(2, 1, 2, 2)

        def forward(self, wave: Tensor, space: Tensor) -> dict[str, Tensor]:
            w, s = self.wave(wave), self.space(space)
            return {"wave": w, "space": self.back(s), "both": w.mean((1, 2)) + s.mean((1, 2, 3, 4))}

    return Case(module=Volume(), args=(torch.randn(2, 2, 16), torch.randn(2, 1, 6, 6, 6)))


@case
def early_exit() -> Case:
    class Exits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.trunk = conv(3, 8, stride=2), nn.Sequential(conv(8, 8), conv(8, 8, stride=2), conv(8, 8))
            self.early, self.final = nn.Linear(8, 10), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.stem(x)
            early = self.early(x.mean((2, 3)))
            return early, self.final(self.trunk(x).mean((2, 3)))

    return Case(module=Exits(), args=(picture(),))
