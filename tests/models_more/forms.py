"""Views, dtypes, trees and control flow at the places where a cut may fall."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._higher_order_ops.while_loop import while_loop

from tests.models import Case
from tests.models_more.table import Made, more, square


@more
def views_of_one_storage() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.first(x)
        a, b, c = y.chunk(3, 1)
        wide = c[:, :, ::2, 1:2].expand(2, 4, 2, 3)
        return m.second(a) + m.third(b.transpose(2, 3)), m.second(wide.contiguous()), y[:, 1:3].sum()

    parts = {"first": nn.Conv2d(8, 12, 1), "second": nn.Conv2d(4, 4, 1), "third": nn.Conv2d(4, 4, 3, padding=1)}
    return Case(module=Made(run, **parts), args=(torch.randn(2, 8, 4, 4),))


@more
def strides_over_a_view() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.linear(x)
        begun = y[:, 2:].as_strided((2, 3, 4), (8, 1, 1))
        turned = torch.as_strided(y.split(4, 1)[1].t(), (2, 4, 4), (8, 1, 1), 1)
        return m.second(begun).relu(), m.second(turned).relu()

    return Case(module=Made(run, linear=square(), second=square(4)), args=(torch.randn(2, 8),))


@more
def outputs_that_alias_each_other() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.linear(x)
        return y, y.t(), y[0], y.view(-1), y, x

    return Case(module=Made(run, linear=square()), args=(torch.randn(2, 8),))


@more
def weights_as_outputs() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        return {"y": m.linear(x), "anchors": m.anchors, "w": m.linear.weight.t(), "twice": m.anchors * 2}

    return Case(module=Made(run, linear=square(), anchors=torch.arange(6.0).view(3, 2)), args=(torch.randn(2, 8),))


@more
def plain_values_out() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        return {"y": x.sin(), "plain": [3, 2.5, "text", None, True], "size": x.shape[0], "empty": [], "t": (x + 1, [x])}

    return Case(module=Made(run), args=(torch.randn(2, 8),))


@more
def tensors_of_no_axes() -> Case:
    def run(m: Made, x: torch.Tensor, scale: torch.Tensor) -> object:
        mean = m.linear(x).mean()
        return m.linear(x * mean) * scale, mean

    return Case(module=Made(run, linear=square()), args=(torch.randn(2, 8), torch.tensor(3.0)))


@more
def tensors_of_no_elements() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.linear(x)
        nothing = y[:, 8:]
        return torch.cat([m.linear(y.relu()), nothing], 1) @ m.weight, nothing, m.linear(y[:0]).relu()

    return Case(module=Made(run, linear=square(), weight=torch.randn(8, 3)), args=(torch.randn(2, 8),))


@more
def an_empty_batch() -> Case:
    return Case(module=nn.Sequential(square(), nn.ReLU(), square()), args=(torch.randn(0, 8),))


@more
def integers_out() -> Case:
    def run(m: Made, ids: torch.Tensor) -> object:
        y = m.head(m.table(ids))
        return y.argmax(-1), y.topk(2).indices.to(torch.int32), y > 0, ids + 1

    parts = {"table": nn.Embedding(10, 6), "head": nn.Linear(6, 9)}
    return Case(module=Made(run, **parts), args=(torch.randint(0, 10, (2, 5)),))


def _cast(dtype: torch.dtype) -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.first(x).to(dtype).relu() * 2
        return m.second(y.float()), y @ y.t()

    return Case(module=Made(run, first=square(), second=square()), args=(torch.randn(4, 8),))


@more
def half_precision_in_between() -> Case:
    return _cast(torch.float16)


@more
def bfloat16_in_between() -> Case:
    return _cast(torch.bfloat16)


@more
def double_precision_in_between() -> Case:
    return _cast(torch.float64)


@more
def autocast_in_between() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = m.second(m.first(x).relu())
        with torch.autocast("cpu", enabled=False):
            return m.first(y.float())

    return Case(module=Made(run, first=square(), second=square()), args=(torch.randn(4, 8),))


@more
def complex_numbers_cross() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        filtered = torch.fft.rfft(m.linear(x)) * m.filter
        turned = filtered.conj()
        return torch.fft.irfft(turned, n=16), turned.imag, torch.view_as_real(filtered), filtered

    parts = {"linear": square(16), "filter": torch.randn(9, dtype=torch.complex64)}
    return Case(module=Made(run, **parts), args=(torch.randn(2, 16),))


@more
def booleans_and_bytes() -> Case:
    def run(m: Made, mask: torch.Tensor, raw: torch.Tensor) -> object:
        return torch.where(mask, raw.to(torch.int16), m.missing), ~mask, raw >> 1

    args = (torch.tensor([True, False]), torch.tensor([1, 200], dtype=torch.uint8))
    return Case(module=Made(run, missing=torch.tensor(-1, dtype=torch.int16)), args=args)


@more
def a_loop() -> Case:
    def run(m: Made, x: torch.Tensor, count: torch.Tensor) -> object:
        left, y = while_loop(lambda i, a: i > 0, lambda i, a: (i - 1, m.linear(a).sin()), (count, m.linear(x)))
        return m.linear(y), left

    return Case(module=Made(run, linear=square()), args=(torch.randn(2, 8), torch.tensor(2)))


@dataclass
class Answer:
    """A model output class, as libraries of transformers define them."""

    logits: torch.Tensor
    hidden: torch.Tensor
    loss: torch.Tensor | None = None


torch.export.register_dataclass(Answer, serialized_type_name="tests.Answer")


@more
def a_dataclass_out() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        hidden = m.linear(x)
        return Answer(logits=m.linear(hidden), hidden=hidden)

    return Case(module=Made(run, linear=square()), args=(torch.randn(4, 8),))


class KeywordsOnly(nn.Module):
    """Keyword-only inputs, one optional, one a plain number, one nested."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large, self.linear = nn.Embedding(3, 4), nn.Embedding(100, 4), square(4)

    def forward(
        self,
        *,
        a: torch.Tensor,
        b: dict[str, list[torch.Tensor]],
        bias: torch.Tensor | None = None,
        scale: float = 1.0,
    ) -> torch.Tensor:
        y = self.linear(self.small(a)) * self.large(b["ids"][0]) * scale
        return y if bias is None else y + bias


@more
def keywords_in_another_order() -> Case:
    kwargs = {"b": {"ids": [torch.randint(0, 100, (2, 4))]}, "scale": 2.0, "a": torch.randint(0, 3, (2, 4))}
    return Case(module=KeywordsOnly(), kwargs=kwargs)


@more
def numbers_flags_and_none_in() -> Case:
    def run(m: Made, x: torch.Tensor, mask: object, times: int, flag: bool, mode: str) -> object:
        assert mask is None
        assert mode == "mode"
        return ((m.linear(x) * times).relu() if flag else x), times

    return Case(module=Made(run, linear=square()), args=(torch.randn(2, 8), None, 3, True, "mode"))


@more
def an_input_nobody_reads() -> Case:
    def run(m: Made, x: torch.Tensor, unread: torch.Tensor) -> object:
        return m.linear(x).relu().sum(1)

    return Case(module=Made(run, linear=square()), args=(torch.randn(2, 8), torch.randn(3)))


@more
def attention_with_its_weights() -> Case:
    def run(m: Made, x: torch.Tensor, padding: torch.Tensor) -> object:
        y, weights = m.attention(m.linear(x), x, x, key_padding_mask=padding)
        return m.linear(y), weights

    parts = {"attention": nn.MultiheadAttention(8, 2, batch_first=True), "linear": square()}
    padding = torch.arange(5)[None] >= torch.tensor([[5], [3], [4]])
    return Case(module=Made(run, **parts), args=(torch.randn(3, 5, 8), padding))


@more
def two_recurrent_layers() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y, (h, c) = m.lstm(x)
        z, last = m.gru(y)
        return m.linear(z.relu()), h, c, last

    lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
    return Case(module=Made(run, lstm=lstm, gru=nn.GRU(12, 8), linear=square()), args=(torch.randn(3, 5, 8),))


@more
def channels_last() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        y = m.first(x.to(memory_format=torch.channels_last)).relu()
        return m.second(y).flatten(1), y

    module = Made(run, first=nn.Conv2d(4, 8, 3, padding=1), second=nn.Conv2d(8, 4, 3))
    return Case(module=module.to(memory_format=torch.channels_last), args=(torch.randn(2, 4, 6, 6),))


@more
def buffers_of_strange_strides() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        return x * m.slice + m.wide[:2], torch.cat([x, m.empty]), m.turned @ x.t()

    parts = {
        "wide": torch.arange(8.0).expand(4, 8),
        "slice": torch.arange(20.0)[2:10],
        "empty": torch.zeros(0, 8),
        "turned": torch.arange(16.0).view(8, 2).t(),
    }
    return Case(module=Made(run, **parts), args=(torch.randn(2, 8),))


@more
def names_that_look_like_ours() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        return m.d["a"](m.d["a#1"](m.d["a"](x).tanh()).tanh()).tanh() + m.d["a:relu"](x)

    names = ("a", "a#1", "a:relu")
    return Case(module=Made(run, d=nn.ModuleDict({name: square() for name in names})), args=(torch.randn(2, 8),))


@more
def everything_so_far_is_read_again() -> Case:
    def run(m: Made, x: torch.Tensor) -> object:
        found = [x]
        for layer in m.layers:
            found.append(layer(torch.stack(found).sum(0)))
        return found

    return Case(module=Made(run, layers=nn.ModuleList(square() for _ in range(4))), args=(torch.randn(2, 8),))
