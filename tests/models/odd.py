"""Legal models that are easy to get wrong: shared parts, odd outputs, odd inputs, odd dtypes, control flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.models.case import Case, case, conv, picture


@case
def two_inputs_dict_output() -> Case:
    class Fusion(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.picture, self.table = conv(3, 8, stride=2), nn.Sequential(nn.Linear(5, 8), nn.Tanh())
            self.head = nn.Bilinear(8, 8, 3)

        def forward(self, picture: Tensor, table: Tensor) -> dict[str, Tensor]:
            a, b = self.picture(picture).mean((2, 3)), self.table(table)
            return {"logits": self.head(a, b), "picture": a, "table": b}

    return Case(module=Fusion(), args=(picture(size=16), torch.randn(1, 5)))


@case
def nested_keyword_inputs() -> Case:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(2, 6)

        def forward(self, *, pair: tuple[Tensor, Tensor], extra: dict[str, Tensor]) -> dict[str, object]:
            first, second = pair
            y = torch.relu(self.a(first) + self.b(second))
            return {"sum": y + self.c(extra["side"]), "parts": (y, [extra["scale"] * y])}

    pair = (torch.randn(2, 4), torch.randn(2, 3))
    return Case(
        module=Nested(), kwargs={"pair": pair, "extra": {"side": torch.randn(2, 2), "scale": torch.tensor(3.0)}}
    )


@case
def weights_on_both_sides() -> Case:
    """One linear layer before and after everything else, and one called three times in a row."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outer, self.inner, self.act = nn.Linear(8, 8), nn.Linear(8, 8), nn.PReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.outer(x)
            for _ in range(3):
                x = self.act(self.inner(x)) + x
            return self.outer(x)

    return Case(module=Shared(), args=(torch.randn(3, 8),))


@case
def constants_and_buffers() -> Case:
    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.randn(1, 4))
            self.register_buffer("scratch", torch.full((4,), 2.0), persistent=False)
            self.linear, self.table = nn.Linear(4, 4), torch.randn(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            ramp = torch.arange(4, dtype=x.dtype) * 0.5 + torch.tensor([1.0, 2.0, 3.0, 4.0])
            y = self.linear((x - self.mean) / self.scratch) + ramp
            y = torch.where(y > 0, y, torch.zeros_like(y)) + self.table[2] + torch.eye(4)[1]
            return y @ torch.linspace(-1, 1, 8).view(4, 2) + torch.full((2,), 0.25)

    return Case(module=Constants(), args=(torch.randn(2, 4),))


@case
def passes_inputs_and_constants_out() -> Case:
    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("classes", torch.arange(4))

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            z = self.linear(x)
            return x, self.classes, torch.relu(z), z

    return Case(module=Passing(), args=(torch.randn(2, 4), torch.randn(3)))


@case
def numbers_and_none_out() -> Case:
    class Numbers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(
            self, x: Tensor, unused: None = None, factor: float = 2.0
        ) -> tuple[Tensor, None, int, float, bool, str]:
            return self.linear(x) * factor, unused, 7, 0.5, True, "done"

    return Case(module=Numbers(), args=(torch.randn(2, 4), None, 3.0))


@case
def the_same_output_twice() -> Case:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.linear(x)
            return {"a": y, "b": y, "view": y.view(3, 4), "part": y[:, 1:3]}

    return Case(module=Twice(), args=(torch.randn(2, 4),))


@case
def mixed_dtypes() -> Case:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_half, self.to_brain = nn.Linear(8, 8).to(torch.float16), nn.Linear(8, 8).to(torch.bfloat16)
            self.to_double = nn.Linear(8, 8).to(torch.float64)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            half = self.to_half(x.to(torch.float16))
            brain = self.to_brain(half.to(torch.bfloat16))
            double = self.to_double(brain.to(torch.float64))
            chosen = double.argmax(-1)
            return {
                "half": half, "brain": brain, "double": double, "int64": chosen, "int32": chosen.to(torch.int32),
                "uint8": (x > 0).to(torch.uint8), "bool": x > 0, "scalar": double.mean(),
            }  # fmt: skip

    return Case(module=Mixed(), args=(torch.randn(3, 8),))


@case
def reparametrised_weights() -> Case:
    return Case(
        module=nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.GroupNorm(2, 4), nn.SiLU(),
            parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)), nn.LocalResponseNorm(2), nn.Softplus(),
        ),
        args=(picture(size=10),),
    )  # fmt: skip


@case
def branches_on_data() -> Case:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.positive, self.negative = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.before(x)
            return torch.cond(y.sum() > 0, lambda y: self.positive(y), lambda y: self.negative(y).sin(), (y,))

    return Case(module=Branches(), args=(torch.randn(2, 4),))


@case
def several_results_per_operator() -> Case:
    """Split, unbind, top-k, sort, var_mean: operators that make a tuple, of which some parts go unused."""

    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 12)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            a, b, c = self.linear(x).split([3, 4, 5], dim=1)
            values, order = c.sort(dim=1, descending=True)
            variance, mean = torch.var_mean(b, dim=1)
            first, *_ = a.unbind(1)
            return values.cumsum(1), order, variance + mean + first, x.gather(1, order[:, :2])

    return Case(module=Several(), args=(torch.randn(4, 8),))


@case
def writes_to_its_input() -> Case:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            return self.linear(x) + x

    return Case(module=Writes(), args=(torch.randn(2, 4),))


@case
def counts_its_calls() -> Case:
    """A buffer that the model changes; its answers do not depend on how often it ran."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.linear(x).relu()

    return Case(module=Counts(), args=(torch.randn(2, 4),))


@case
def a_single_operator() -> Case:
    class Doubles(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    return Case(module=Doubles(), args=(torch.randn(3),))


@case
def no_operator_at_all() -> Case:
    return Case(module=nn.Identity(), args=(torch.randn(3),))


@case
def sizes_in_arithmetic() -> Case:
    """Symbolic sizes used as numbers: they must not cross, and be computed again on the far side."""

    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            n, t, _ = x.shape
            y = torch.relu(self.first(x)).reshape(n * t, 8) / t
            y = self.second(y).view(n, t, 4) * n
            return y + torch.arange(t).view(1, t, 1), torch.ones(t, n) * (t // 2)

    return Case(module=Sizes(), args=(torch.randn(2, 6, 4),), dynamic=("x=n:1..8,t:2..32",))
