"""PyTorch's recurrent modules seen inside: step by step as in a loop of cells whose states keep their gradient."""

from __future__ import annotations

import math
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import rnn as packing  # noqa: E402

N, T, FEATURES, HIDDEN, CLASSES = 6, 9, 3, 5, 4

CELLS: dict[str, Any] = {
    "lstm": (nn.LSTM, nn.LSTMCell),
    "gru": (nn.GRU, nn.GRUCell),
    "rnn_tanh": (nn.RNN, nn.RNNCell),
    "rnn_relu": (
        lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
        lambda *args, **options: nn.RNNCell(*args, nonlinearity="relu", **options),
    ),
}
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def sequences(dtype: Any = torch.float64) -> tuple[Any, Any]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(N, T, FEATURES, dtype=dtype, generator=rng), torch.arange(N) % CLASSES


class Classifier(nn.Module):
    """A recurrent module and a Linear head on what `use` makes of its outputs."""

    def __init__(self, cell: str, use: str = "last", **options: Any) -> None:
        super().__init__()
        self.batch_first = options.setdefault("batch_first", True)
        self.rnn = CELLS[cell][0](FEATURES, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN * (1 + self.rnn.bidirectional), CLASSES)
        self.use = use
        self.double()

    def forward(self, x: Any, states: Any = None) -> Any:
        y, last = self.rnn(x, states)
        h_n, *c_n = last if isinstance(last, tuple) else (last,)
        if self.use == "state":  # of the last layer, and of the LSTM the memory too
            part = slice(-1 - self.rnn.bidirectional, None)
            return self.head(sum(state[part].transpose(0, 1).flatten(1) for state in (h_n, *c_n)))
        if isinstance(y, packing.PackedSequence):
            padded, lengths = packing.pad_packed_sequence(y, batch_first=True)
            return self.head(padded.sum(1) / lengths[:, None])
        y = y if self.batch_first or y.ndim == 2 else y.transpose(0, 1)
        if self.use == "mean":
            return self.head(y.mean(1))
        return self.head(y[:, -1]) if self.use == "last" else self.head(y).mean(1)


class Steps:
    """The recurrent module of a classifier as loops of cells, one a layer and direction, every h and c kept."""

    def __init__(self, cell: str, module: Any) -> None:
        self.module, self.memory = module, cell == "lstm"
        self.cells = []
        width = FEATURES
        for k in range(module.num_layers):
            for suffix in ("", "_reverse")[: 1 + module.bidirectional]:
                made = CELLS[cell][1](width, HIDDEN, bias=module.bias).double()
                state = {name: getattr(module, f"{name}_l{k}{suffix}") for name in dict(made.named_parameters())}
                made.load_state_dict(state)
                self.cells.append(made)
            width = HIDDEN * (1 + module.bidirectional)

    def run(self, x: Any, states: Any, lengths: Any, masks: Any = None) -> tuple[Any, Any]:
        """y (N, T, C) with 0 beyond the lengths, and what nn.LSTM, GRU or RNN returns beside it."""
        directions = 1 + self.module.bidirectional
        self.runs = torch.arange(T)[:, None] < torch.tensor(lengths)
        self.kept: list[list[list[Any]]] = []
        last = []
        above = x
        for k in range(self.module.num_layers):
            sides = []
            if k and masks is not None:
                above = above * masks[k - 1]
            for d in range(directions):
                place = len(self.kept)
                state = [torch.zeros(len(x), HIDDEN, dtype=x.dtype)] * (1 + self.memory)
                if states is not None:
                    state = [s[place] for s in (states if isinstance(states, tuple) else (states,))]
                steps: list[Any] = [None] * T
                for t in range(T)[:: -1 if d else 1]:
                    out = self.cells[place](above[:, t], tuple(state) if self.memory else state[0])
                    steps[t] = [s.clone() for s in (out if self.memory else (out,))]
                    for s in steps[t]:
                        s.retain_grad()
                    pairs = zip(steps[t], state, strict=True)
                    state = [torch.where(self.runs[t][:, None], new, old) for new, old in pairs]
                self.kept.append(steps)
                last.append(state)
                sides.append(torch.stack([steps[t][0] * self.runs[t][:, None] for t in range(T)], 1))
            above = torch.cat(sides, 2)
        parts = [torch.stack([state[i] for state in last]) for i in range(1 + self.memory)]
        return above, tuple(parts) if self.memory else parts[0]

    def rms(self, place: int, which: int, gradient: bool) -> list[float]:
        """Root mean square over the samples that have step t of the norm of h_t or c_t, or of its gradient."""
        found = []
        for state, runs in zip(self.kept[place], self.runs, strict=True):
            seen = (gradients(state) if gradient else state)[which][runs]
            found.append(math.sqrt(seen.square().sum().item() / len(seen)) if len(seen) else math.nan)
        return found


def gradients(state: Any) -> list[Any]:
    """By h and by c of a step. As clones of what the cell gave, c misses what passes through h = o tanh(c)."""
    found = [torch.zeros_like(s) if s.grad is None else s.grad for s in state]
    if len(state) == 1:
        return found
    h, c = (s.detach() for s in state)
    return [found[0], found[1] + found[0] * h / c.tanh() * (1 - c.tanh() ** 2)]


def agrees(measured: Any, model: Any, cell: str, x: Any, y: Any, states: Any, lengths: Any, masks: Any = None) -> None:
    """Every layer and direction of a measurement against the loop of cells, in float64."""
    steps = Steps(cell, model.rnn)
    out, last = steps.run(x, states, lengths, masks)
    h_n, *c_n = last if isinstance(last, tuple) else (last,)
    if model.use == "state":
        part = slice(-1 - model.rnn.bidirectional, None)
        logits = model.head(sum(state[part].transpose(0, 1).flatten(1) for state in (h_n, *c_n)))
    elif model.use == "mean":
        logits = model.head(out.sum(1) / torch.tensor(lengths)[:, None])
    else:
        logits = model.head(out[:, -1]) if model.use == "last" else model.head(out).mean(1)
    F.cross_entropy(logits, y).backward()
    assert len(measured) == len(steps.cells)
    for place, seen in enumerate(measured):
        assert (seen.cell, seen.hidden, seen.steps) == (cell, HIDDEN, max(lengths))
        assert list(seen.rows) == [sum(t < n for n in lengths) for t in range(T)]
        assert seen.reverse == bool(model.rnn.bidirectional and place % 2)
        np.testing.assert_allclose(seen.grad_h, steps.rms(place, 0, True), rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(np.array(seen.h_rms) * HIDDEN**0.5, steps.rms(place, 0, False), rtol=1e-10)
        if cell == "lstm":
            np.testing.assert_allclose(seen.grad_c, steps.rms(place, 1, True), rtol=1e-10, atol=1e-15)
            np.testing.assert_allclose(np.array(seen.c_rms) * HIDDEN**0.5, steps.rms(place, 1, False), rtol=1e-10)
    assert max(max(seen.grad_h) for seen in measured) > 1e-3


SETTINGS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "both directions": {"bidirectional": True},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "time first": {"batch_first": False},
    "no biases": {"bias": False, "num_layers": 2},
}


@every_cell
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("use", ["last", "all", "state"])
def test_steps_are_those_of_a_loop_of_cells(cell: str, settings: dict[str, Any], use: str) -> None:
    model = Classifier(cell, use, **settings)
    x, y = sequences()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    m = gm.torch.measure(model, x if model.batch_first else x.transpose(0, 1), y)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (m.samples, all(p.grad is None for p in model.parameters())) == (N, True)
    agrees(m.time, model, cell, x, y, None, [T] * N)


@every_cell
def test_initial_states(cell: str) -> None:
    model = Classifier(cell, "all", num_layers=2, bidirectional=True)
    x, y = sequences()
    states = tuple(torch.randn(4, N, HIDDEN, dtype=x.dtype) for _ in range(1 + (cell == "lstm")))
    wrapped = Wrapped(model, states if cell == "lstm" else states[0])
    agrees(gm.torch.measure(wrapped, x, y).time, model, cell, x, y, states, [T] * N)


class Wrapped(nn.Module):
    """A model whose recurrent module gets states and, if there are lengths, packed sequences."""

    def __init__(self, model: Any, states: Any = None, lengths: Any = None, ordered: bool = True) -> None:
        super().__init__()
        self.model, self.states, self.lengths, self.ordered = model, states, lengths, ordered

    def forward(self, x: Any) -> Any:
        if self.lengths is not None:
            x = packing.pack_padded_sequence(x, self.lengths, batch_first=True, enforce_sorted=self.ordered)
        return self.model(x, self.states)


@every_cell
@pytest.mark.parametrize("lengths", [[9, 8, 8, 5, 2, 1], [2, 9, 1, 9, 4, 6]], ids=["ordered", "as they come"])
@pytest.mark.parametrize("use", ["mean", "state"])
def test_packed_sequences(cell: str, lengths: list[int], use: str) -> None:
    model = Classifier(cell, use, num_layers=2, bidirectional=True)
    x, y = sequences()
    states = tuple(torch.randn(4, N, HIDDEN, dtype=x.dtype) for _ in range(1 + (cell == "lstm")))
    wrapped = Wrapped(model, states if cell == "lstm" else states[0], lengths, lengths[0] == T)
    agrees(gm.torch.measure(wrapped, x, y).time, model, cell, x, y, states, lengths)


def test_a_packed_sequence_as_the_input() -> None:
    model = Classifier("gru", "mean")
    x, y = sequences()
    lengths = [2, 9, 1, 9, 4, 6]
    packed = packing.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    m = gm.torch.measure(model, packed, y)
    assert m.samples == N
    assert m.input_grad_norm > 0
    agrees(m.time, model, "gru", x, y, None, lengths)


@every_cell
@pytest.mark.parametrize("packed", [False, True])
def test_dropout_in_training_is_drawn_again(cell: str, packed: bool) -> None:
    model = Classifier(cell, "mean", num_layers=3, bidirectional=True, dropout=0.4)
    x, y = sequences()
    lengths = [2, 9, 1, 9, 4, 6] if packed else [T] * N
    wrapped = Wrapped(model, None, lengths if packed else None, ordered=False)
    torch.manual_seed(5)
    m = gm.torch.measure(wrapped, x, y)
    torch.manual_seed(5)
    width = 2 * HIDDEN
    if packed:
        drawn = [F.dropout(torch.ones(sum(lengths), width, dtype=x.dtype), 0.4) for _ in range(2)]
        like = packing.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        masks = [packing.pad_packed_sequence(like._replace(data=mask), batch_first=True)[0] for mask in drawn]
    else:
        masks = [F.dropout(torch.ones(T, N, width, dtype=x.dtype), 0.4).transpose(0, 1) for _ in range(2)]
    agrees(m.time, model, cell, x, y, None, lengths, masks)
    assert gm.torch.measure(wrapped.eval(), x, y).time != m.time


def test_dropout_that_is_drawn_otherwise_is_refused() -> None:
    model = Classifier("lstm", num_layers=2, dropout=0.5)
    model.rnn.register_forward_pre_hook(lambda module, args: torch.rand(1) and None)  # after ours: other masks
    with pytest.warns(UserWarning, match="rnn is not measured through time: its dropout"):
        m = gm.torch.measure(Late(model), *sequences())
    assert m.time == ()
    assert len(m.layers) == 2


class Late(nn.Module):
    """Draws random numbers within the recurrent module's call, after the watcher has looked."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        forward = self.model.rnn.forward

        def drawing(*args: Any) -> Any:
            torch.rand(1)
            return forward(*args)

        self.model.rnn.forward = drawing
        try:
            return self.model(x)
        finally:
            del self.model.rnn.forward


def test_float32_and_names() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LSTM(FEATURES, 8, num_layers=2, batch_first=True)
            self.second = nn.GRU(8, 8, bidirectional=True, batch_first=True)
            self.head = nn.Linear(16, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.second(self.first(x)[0])[0][:, -1])

    model = Stack()
    x, y = sequences(torch.float32)
    m = gm.torch.measure(model, x, y)
    wide = gm.torch.measure(model.double(), x, y)
    assert [seen.name for seen in m.time] == [
        "first l0 LSTM 8",
        "first l1 LSTM 8",
        "second GRU 8",
        "second GRU 8 reverse",
    ]
    assert [seen.index for seen in m.time] == [1, 2, 3, 3]
    assert [layer.name for layer in m.layers] == ["first LSTM 8", "second GRU 16", "head Linear 4"]
    for seen, other in zip(m.time, wide.time, strict=True):
        np.testing.assert_allclose(seen.grad_h, other.grad_h, rtol=1e-4)
    assert gm.diagnose(m).findings


def test_a_module_used_twice_and_one_without_gradient() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.idle, self.head = (
                nn.GRU(FEATURES, FEATURES),
                nn.RNN(FEATURES, 2),
                nn.Linear(FEATURES, CLASSES),
            )

        def forward(self, x: Any) -> Any:
            with torch.no_grad():
                self.idle(x)
            y, state = self.rnn(x)
            return self.head(self.rnn(y, state)[0][-1])

    model = Twice().double()
    x, y = sequences()
    m = gm.torch.measure(model, x.transpose(0, 1), y)
    assert [seen.name for seen in m.time] == ["rnn GRU 3", "rnn GRU 3 (call 2)"]
    kept = []
    state = torch.zeros(N, FEATURES, dtype=x.dtype)
    cell = nn.GRUCell(FEATURES, FEATURES).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in model.rnn.state_dict().items()})
    above = x.transpose(0, 1)
    for _ in range(2):
        steps = []
        for t in range(T):
            state = cell(above[t], state)
            state.retain_grad()
            steps.append(state)
        kept.append(steps)
        above = torch.stack(steps)
    F.cross_entropy(model.head(above[-1]), y).backward()
    for seen, steps in zip(m.time, kept, strict=True):
        # the second call sends a gradient to the state after the first, which counts as its last step's
        expected = [math.sqrt(h.grad.square().sum().item() / N) for h in steps]
        np.testing.assert_allclose(seen.grad_h, expected, rtol=1e-10)


def test_a_linear_head_on_every_step() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.rnn = nn.Linear(FEATURES, FEATURES), nn.LSTM(FEATURES, HIDDEN, batch_first=True)
            self.head, self.out = nn.Linear(HIDDEN, 7), nn.Linear(7, CLASSES)

        def forward(self, x: Any) -> Any:
            self.a = torch.tanh(self.inp(x))
            self.h = self.rnn(self.a)[0]
            self.b = F.relu(self.head(self.h))
            for t in (self.a, self.h, self.b):
                t.retain_grad()
            return self.out(self.b).transpose(1, 2)

    model = Tagger().double()
    x = sequences()[0].requires_grad_()
    y = torch.randint(0, CLASSES, (N, T))
    m = gm.torch.measure(model, x, y)
    F.cross_entropy(model(x), y).backward()
    names = ["inp Linear 3 tanh", "rnn LSTM 5", "head Linear 7 relu", "out Linear 4"]
    assert [layer.name for layer in m.layers] == names
    assert [layer.role for layer in m.layers] == ["hidden"] * 3 + ["output"]
    below = x
    for layer, t in zip(m.layers, (model.a, model.h, model.b), strict=False):
        assert layer.grad_norm == pytest.approx(t.grad.norm().item(), rel=1e-12)
        assert layer.grad_rms == pytest.approx(t.grad.norm().item() / N**0.5, rel=1e-12)
        assert layer.factor == pytest.approx((below.grad.norm() / t.grad.norm()).item(), rel=1e-12)
        assert layer.out_mean == pytest.approx(t.mean().item(), rel=1e-12)
        below = t
    assert m.time[0].grad_h[-1] == pytest.approx(model.h.grad[:, -1].norm().item() / N**0.5, rel=1e-12)


def test_one_sequence_without_a_batch() -> None:
    model = nn.LSTM(FEATURES, CLASSES).double()
    x = sequences()[0][0]
    y = torch.arange(T) % CLASSES
    m = gm.torch.measure(nn.Sequential(model), x, y, lambda out, y: F.cross_entropy(out[0], y))
    steps = []
    cell = nn.LSTMCell(FEATURES, CLASSES).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in model.state_dict().items()})
    state = None
    for t in range(T):
        state = [s.clone() for s in cell(x[t], state)]
        for s in state:
            s.retain_grad()
        steps.append(state)
    F.cross_entropy(torch.stack([h for h, _ in steps]), y).backward()
    expected = [[g.norm().item() for g in gradients(state)] for state in steps]
    np.testing.assert_allclose(np.transpose([m.time[0].grad_h, m.time[0].grad_c]), expected, rtol=1e-10)


class Loop(nn.Module):
    """Two layers of cells, called step by step."""

    def __init__(self, cell: str, break_at: int | None = None) -> None:
        super().__init__()
        self.low, self.high = (CELLS[cell][1](width, HIDDEN) for width in (FEATURES, HIDDEN))
        self.head, self.memory, self.break_at = nn.Linear(HIDDEN, CLASSES), cell == "lstm", break_at
        self.double()

    def forward(self, x: Any) -> Any:
        low = high = None
        outputs = []
        for t in range(x.shape[1]):
            if t == self.break_at:
                low, high = (tuple(s.detach() for s in pair) if self.memory else pair.detach() for pair in (low, high))
            low = self.low(x[:, t], low)
            high = self.high(low[0] if self.memory else low, hx=high)
            outputs.append(high[0] if self.memory else high)
        return self.head(torch.stack(outputs, 1).mean(1))


@every_cell
def test_a_loop_of_cells_is_a_layer_and_a_sequence(cell: str) -> None:
    model = Loop(cell)
    module = Classifier(cell, "mean", num_layers=2)
    for k, part in enumerate((model.low, model.high)):
        for name, value in part.named_parameters():
            getattr(module.rnn, f"{name}_l{k}").data.copy_(value.data)
    module.head.load_state_dict(model.head.state_dict())
    x, y = sequences()
    looped, stacked = gm.torch.measure(model, x, y), gm.torch.measure(module, x, y)
    kind = CELLS[cell][1](1, 1)._get_name()
    assert [layer.name for layer in looped.layers] == [f"low {kind} 5", f"high {kind} 5", "head Linear 4"]
    assert looped.loss_value == pytest.approx(stacked.loss_value, rel=1e-12)
    assert looped.input_grad_norm == pytest.approx(stacked.input_grad_norm, rel=1e-12)
    for seen, other in zip(looped.time, stacked.time, strict=True):
        assert seen.name == f"{'low' if seen.index == 1 else 'high'} {other.name.split(maxsplit=2)[2]}"
        assert seen.index == other.index
        for field in ("grad_h", "grad_c", "h_rms", "c_rms"):
            np.testing.assert_allclose(getattr(seen, field), getattr(other, field), rtol=1e-10)
    # the layer of a module is seen at its outputs, and so is that of a loop
    one = gm.torch.measure(nn.Sequential(Loop(cell)), x, y)
    high = looped.layers[1]
    assert high.grad_norm == pytest.approx(stacked.layers[0].grad_norm, rel=1e-12)
    assert high.out_var == pytest.approx(stacked.layers[0].out_var, rel=1e-12)
    assert high.sample_spread == pytest.approx(stacked.layers[0].sample_spread, rel=1e-10)
    assert one.layers[0].name == f"0.low {kind} 5"
    assert gm.diagnose(looped).findings


def test_a_loop_that_is_cut_is_two_sequences() -> None:
    model = Loop("gru", break_at=4)
    m = gm.torch.measure(model, *sequences())
    assert [seen.steps for seen in m.time] == [4, 5, 4, 5]
    assert [seen.name for seen in m.time][:2] == ["low GRU 5 (sequence 1)", "low GRU 5 (sequence 2)"]
    assert len(m.layers) == 3


@pytest.mark.parametrize("how", ["masked", "memory"])
def test_a_loop_that_is_no_plain_sequence_is_named(how: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTMCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)

        def forward(self, x: Any) -> Any:
            h = c = x.new_zeros(len(x), HIDDEN)
            total = 0
            for t in range(T):
                new = self.cell(x[:, t], (h, c))
                h, c = (
                    new
                    if how == "memory"
                    else (torch.where(x[:, t, :1] > 0, *pair) for pair in zip(new, (h, c), strict=True))
                )
                total = total + c
            return self.head(h + total if how == "memory" else h)

    why = {"masked": "no call takes the states", "memory": "its c goes elsewhere"}[how]
    x, y = sequences(torch.float32)
    with pytest.warns(UserWarning, match=f"cell is not measured through time: {why}"):
        m = gm.torch.measure(Odd(), x, y)
    assert [layer.name for layer in m.layers] == ["cell LSTMCell 5", "head Linear 4"]
    assert m.time == ()
    assert math.isnan(m.attenuation.factor)


def test_a_cell_called_once() -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)

        def forward(self, x: Any) -> Any:
            self.h = self.cell(x[:, 0])
            self.h.retain_grad()
            return self.head(self.h)

    model = Once()
    x, y = sequences(torch.float32)
    m = gm.torch.measure(model, x, y)
    F.cross_entropy(model(x), y).backward()
    assert (m.layers[0].name, m.time) == ("cell GRUCell 5", ())
    assert m.layers[0].grad_norm == pytest.approx(model.h.grad.norm().item(), rel=1e-5)
    assert m.layers[0].out_mean == pytest.approx(model.h.mean().item(), rel=1e-5)


def test_a_monitor_keeps_steps_on_request() -> None:
    model, (x, y) = Classifier("lstm"), sequences()
    monitor = gm.torch.Monitor(model, every=2, x=x, y=y, time=True)
    other = gm.torch.Monitor(model, every=2, x=x, y=y)
    for _ in range(4):
        monitor.step()
        other.step()
    assert [step for step, _ in monitor.time] == [2, 4]
    ((_, (seen,)), _), (again,) = monitor.time, gm.torch.measure(model, x, y).time
    assert (seen.name, seen.grad_h, seen.grad_c) == (again.name, again.grad_h, again.grad_c)
    assert other.time == []


class LastStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.cells(x)[0][:, -1])


def test_the_memory_that_a_task_asks_for() -> None:
    model, (x, y) = LastStep().double(), sequences()
    measured = gm.torch.measure(model, x, y, memory=7)
    assert measured.memory == 7
    assert gm.torch.measure(model, x, y).memory is None
    finding = next(f for f in gm.diagnose(measured).findings if f.id == "short-memory")
    assert finding.evidence["wanted"] == 7.0
    with pytest.raises(ValueError, match="memory is 0"):
        gm.torch.measure(model, x, y, memory=0)


def test_monitors_see_time_where_depth_has_no_factor() -> None:
    model, (x, y) = LastStep().double(), sequences()
    logged: list[tuple[str, float]] = []
    model.log = lambda name, value: logged.append((name, value))
    monitor, lightning = gm.torch.Monitor(model, every=1, x=x, y=y), gm.torch.GradientMonitor(1)
    monitor.step()
    lightning.on_train_batch_end(None, model, None, (x, y), 0)
    factor = gm.torch.measure(model, x, y).time[0].decay.factor
    assert 0 < factor < 1
    assert math.isnan(monitor.attenuation[0][1].factor)
    assert monitor.decay[0][1].factor == lightning.decay[0][1].factor == factor
    assert logged == [("gradient_factor", factor)]
    assert f"x{factor:.3f} a step" in repr(monitor)
    pytest.importorskip("matplotlib")
    axes = monitor.plot()
    assert len(axes.figure.axes) == 1
    assert any(factor in line.get_ydata() for line in axes.lines)


class Projected(nn.Module):
    """An LSTM with a projection and a head on its last step; `broken` up into calls of one step, states kept."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, proj_size=2, batch_first=True)
        self.head = nn.Linear(2, CLASSES)
        self.double()

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][:, -1])

    def broken(self, x: Any) -> tuple[Any, list[Any]]:
        state, kept = None, []
        for t in range(T):
            _, state = self.rnn(x[:, t : t + 1], state)
            state[0].retain_grad()
            kept.append(state)
        return self.head(kept[-1][0][0]), kept


def test_a_projection() -> None:
    model, (x, y) = Projected(), sequences()
    (seen,) = gm.torch.measure(model, x, y).time
    out, kept = model.broken(x)
    F.cross_entropy(out, y).backward()
    rms = [[v.square().sum().item() for v in (h.grad, h, c)] for h, c in kept]
    want = np.array(rms) / [N, N * 2, N * HIDDEN]
    np.testing.assert_allclose(np.square([seen.grad_h, seen.h_rms, seen.c_rms]).T, want, rtol=1e-10)
    assert (seen.hidden, seen.fan_in) == (HIDDEN, FEATURES)
    # weight_hh of 0 leaves the memory's path alone
    with torch.no_grad():
        model.rnn.weight_hh_l0.zero_()
    (seen,) = gm.torch.measure(model, x, y).time
    assert seen.cell_path is not None
    assert seen.cell_path.factor == pytest.approx(seen.decay.factor, rel=1e-9)
