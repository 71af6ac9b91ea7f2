"""Recurrent cells in NumPy float64, one sample and one step at a time; gradients by the chain rule, written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1, "gru_reset_before": 3, "lstm_norm": 4}
MEMORY = ("lstm", "lstm_norm")  # that have c
NORMS = ("norm_weight_ih", "norm_weight_hh", "norm_weight_c", "norm_bias_c")


def sigmoid(a: Array) -> Array:
    small = np.exp(-np.abs(a))
    return np.where(a < 0, small, 1.0) / (1 + small)


def sigmoid_slope(a: Array) -> Array:
    small = np.exp(-np.abs(a))
    return small / (1 + small) ** 2


def tanh_slope(a: Array) -> Array:
    small = np.exp(-2 * np.abs(a))
    return 4 * small / (1 + small) ** 2


class Norm:
    """Layer norm of one vector before its gain, and back from the derivative by that."""

    def __init__(self, a: Array) -> None:
        d = a - a.mean()
        self.rstd = 1 / np.sqrt((d**2).mean() + 1e-5)
        self.y = d * self.rstd

    def backward(self, dy: Array) -> Array:
        return self.rstd * (dy - dy.mean() - self.y * (dy * self.y).mean())


class Step:
    """One step of one sample: x (I), h and c (H); where weight_hr (P, H) is a fifth weight, h (P).

    "lstm_norm" (Ba, Kiros, Hinton 2016, appendix) has four more: norm_weight_ih, norm_weight_hh, norm_weight_c,
    norm_bias_c.
    """

    def __init__(self, cell: str, weights: tuple[Array, ...], x: Array, h: Array, c: Array) -> None:
        self.cell, self.weights, self.x, self.h, self.c = cell, weights, x, h, c
        weight_ih, weight_hh, bias_ih, bias_hh, *more = weights
        self.projection = more if cell == "lstm" else []
        self.from_x = np.split(weight_ih @ x + bias_ih, GATES[cell])
        self.from_h = np.split(weight_hh @ h + bias_hh, GATES[cell])
        if cell == "lstm_norm":
            self.norm_x, self.norm_h = Norm(weight_ih @ x), Norm(weight_hh @ h)
            self.a = np.split(more[0] * self.norm_x.y + more[1] * self.norm_h.y + bias_ih + bias_hh, 4)
            i, f, g, o = sigmoid(self.a[0]), sigmoid(self.a[1]), np.tanh(self.a[2]), sigmoid(self.a[3])
            self.gates = np.concatenate([i, f, g, o])
            self.new_c = f * c + i * g
            self.norm_c = Norm(self.new_c)
            self.before_tanh = more[2] * self.norm_c.y + more[3]
            self.new_h = o * np.tanh(self.before_tanh)
        elif cell == "lstm":
            self.a = [u + v for u, v in zip(self.from_x, self.from_h, strict=True)]
            i, f, g, o = sigmoid(self.a[0]), sigmoid(self.a[1]), np.tanh(self.a[2]), sigmoid(self.a[3])
            self.gates = np.concatenate([i, f, g, o])
            self.new_c = f * c + i * g
            self.hidden = self.new_h = o * np.tanh(self.new_c)
            for weight_hr in self.projection:
                self.new_h = weight_hr @ self.hidden
        elif cell == "gru":
            r_in, z_in = (self.from_x[k] + self.from_h[k] for k in (0, 1))
            r, z = sigmoid(r_in), sigmoid(z_in)
            self.a = [r_in, z_in, self.from_x[2] + r * self.from_h[2]]
            n = np.tanh(self.a[2])
            self.gates = np.concatenate([r, z, n])
            self.new_c = c
            self.new_h = sigmoid(-z_in) * n + z * h
        elif cell == "gru_reset_before":
            r_in, z_in = (self.from_x[k] + self.from_h[k] for k in (0, 1))
            r, z = sigmoid(r_in), sigmoid(z_in)
            H = len(h)
            self.a = [r_in, z_in, self.from_x[2] + weight_hh[2 * H :] @ (r * h) + bias_hh[2 * H :]]
            n = np.tanh(self.a[2])
            self.gates = np.concatenate([r, z, n])
            self.new_c = c
            self.new_h = sigmoid(-z_in) * n + z * h
        else:
            self.a = [self.from_x[0] + self.from_h[0]]
            self.new_c = c
            self.new_h = np.tanh(self.a[0]) if cell == "rnn_tanh" else np.maximum(self.a[0], 0)
            self.gates = self.new_h

    def backward(self, dh: Array, dc: Array) -> dict[str, Array]:
        """From the derivatives by the new h and c; ``dc`` in the result is the whole one, by the new c."""
        a, passed, total, dprojected = self.a, np.zeros_like(dh), dc, dh
        for weight_hr in self.projection:
            dh = weight_hr.T @ dh
        into_product = [self.h] * GATES[self.cell]  # what each gate's rows of weight_hh were multiplied with
        if self.cell == "lstm":
            i, f, g, o = np.split(self.gates, 4)
            total = dc + dh * o * tanh_slope(self.new_c)
            da_x = [
                total * g * sigmoid_slope(a[0]),
                total * self.c * sigmoid_slope(a[1]),
                total * i * tanh_slope(a[2]),
                dh * np.tanh(self.new_c) * sigmoid_slope(a[3]),
            ]
            da_h = da_x
            dc = total * f
        elif self.cell == "lstm_norm":
            i, f, g, o = np.split(self.gates, 4)
            dn = dh * o * tanh_slope(self.before_tanh)
            total = dc + self.norm_c.backward(dn * self.weights[6])
            da = [
                total * g * sigmoid_slope(a[0]),
                total * self.c * sigmoid_slope(a[1]),
                total * i * tanh_slope(a[2]),
                dh * np.tanh(self.before_tanh) * sigmoid_slope(a[3]),
            ]
            by_gates = np.concatenate(da)
            da_x = np.split(self.norm_x.backward(by_gates * self.weights[4]), 4)
            da_h = np.split(self.norm_h.backward(by_gates * self.weights[5]), 4)
            dc = total * f
            return self.by_products(da_x, da_h) | {
                "dc_old": dc,
                "dc": total,
                "dbias_ih": by_gates,
                "dbias_hh": by_gates,
                "dnorm_weight_ih": by_gates * self.norm_x.y,
                "dnorm_weight_hh": by_gates * self.norm_h.y,
                "dnorm_weight_c": dn * self.norm_c.y,
                "dnorm_bias_c": dn,
            }
        elif self.cell == "gru":
            r, z, n = np.split(self.gates, 3)
            dn = dh * sigmoid(-a[1]) * tanh_slope(a[2])
            dr = dn * self.from_h[2] * sigmoid_slope(a[0])
            dz = dh * (self.h - n) * sigmoid_slope(a[1])
            da_x, da_h = [dr, dz, dn], [dr, dz, dn * r]
            passed = dh * z
        elif self.cell == "gru_reset_before":
            r, z, n = np.split(self.gates, 3)
            dn = dh * sigmoid(-a[1]) * tanh_slope(a[2])
            drh = self.weights[1][2 * len(dh) :].T @ dn
            dr = drh * self.h * sigmoid_slope(a[0])
            dz = dh * (self.h - n) * sigmoid_slope(a[1])
            da_x = da_h = [dr, dz, dn]
            into_product[2] = r * self.h
            passed = dh * z
        else:
            slope = tanh_slope(a[0]) if self.cell == "rnn_tanh" else (a[0] > 0).astype(float)
            da_x = da_h = [dh * slope]
        by_x, by_h = np.concatenate(da_x), np.concatenate(da_h)
        weight_ih, weight_hh = self.weights[:2]
        by_product = [w.T @ d for w, d in zip(np.split(weight_hh, GATES[self.cell]), da_h, strict=True)]
        if self.cell == "gru_reset_before":
            by_product[2] = by_product[2] * np.split(self.gates, 3)[0]
        projection = {"dweight_hr": np.outer(dprojected, self.hidden)} if self.projection else {}
        return projection | {
            "dx": weight_ih.T @ by_x,
            "dh_old": sum(by_product) + passed,
            "dc_old": dc,
            "dc": total,
            "dweight_ih": np.outer(by_x, self.x),
            "dweight_hh": np.concatenate([np.outer(d, v) for d, v in zip(da_h, into_product, strict=True)]),
            "dbias_ih": by_x,
            "dbias_hh": by_h,
        }

    def by_products(self, da_x: list[Array], da_h: list[Array]) -> dict[str, Array]:
        by_x, by_h = np.concatenate(da_x), np.concatenate(da_h)
        return {
            "dx": self.weights[0].T @ by_x,
            "dx_terms": abs(self.weights[0]).T @ abs(by_x),
            "dh_old": self.weights[1].T @ by_h,
            "dh_old_terms": abs(self.weights[1]).T @ abs(by_h),
            "dweight_ih": np.outer(by_x, self.x),
            "dweight_hh": np.outer(by_h, self.h),
        }

    def path(self, along: Array, own: Array) -> tuple[Array, Array]:
        """The derivative by the new c (GRU: h) if weight_hh had none, and what is left of it at the old one.

        ``along``: what later steps hand down; ``own``: the derivative by h from no later step.
        """
        if self.cell == "lstm_norm":
            _, f, _, o = np.split(self.gates, 4)
            kept = along + self.norm_c.backward(own * o * tanh_slope(self.before_tanh) * self.weights[6])
            return kept, kept * f
        if self.cell == "lstm":
            _, f, _, o = np.split(self.gates, 4)
            for weight_hr in self.projection:
                own = weight_hr.T @ own
            kept = along + own * o * tanh_slope(self.new_c)
            return kept, kept * f
        if self.cell.startswith("gru"):
            return along + own, (along + own) * np.split(self.gates, 3)[1]
        return 0 * own, 0 * own


MEASURED = ("rows", "h", "c", "dh", "dc", "path", "rest")
# From where on a gate counts as low and high, for each of a cell's gates.
BOUNDS = {
    "lstm": ([0.1, 0.1, -0.9, 0.1], [0.9] * 4),
    "lstm_norm": ([0.1, 0.1, -0.9, 0.1], [0.9] * 4),
    "gru": ([0.1, 0.1, -0.9], [0.9] * 3),
    "gru_reset_before": ([0.1, 0.1, -0.9], [0.9] * 3),
    "rnn_tanh": ([-0.9], [0.9]),
    "rnn_relu": ([0.0], [np.inf]),
}


def run(
    cell: str,
    x: Array,
    weights: tuple[Array | None, ...],
    h0: Array | None = None,
    c0: Array | None = None,
    lengths: Array | None = None,
    reverse: bool = False,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
    from_end: bool = False,
) -> dict[str, Array]:
    """y, h_n, c_n, gates, c of every step, and with dy all gradients; x (T, N, I).

    terms: what a norm's gradients by x and h are sums of, at most. With one feature, whose scale the norm takes out
    again, next to nothing is left of them.
    """
    T, N, I = x.shape
    P, G = weights[1].shape[1], len(weights[1])
    H = G // GATES[cell]
    # What stands for None: no biases, norms of gain 1.
    plain = (None, None, np.zeros(G), np.zeros(G), np.ones(G), np.ones(G), np.ones(H), np.zeros(H))
    full = tuple(plain[k] if w is None else w.astype(float) for k, w in enumerate(weights))
    if cell == "lstm_norm":
        full += plain[len(full) :]  # type: ignore[arg-type]
    states = ((h0, P), (c0, H), (dh_n, P), (dc_n, H))
    h0, c0, dh_n, dc_n = (np.zeros((N, width)) if a is None else a.astype(float) for a, width in states)
    lengths = np.full(N, T) if lengths is None else np.asarray(lengths)
    dy = np.zeros((T, N, P)) if dy is None else dy.astype(float)
    widths = {"y": P, "c": H, "dh": P, "dc": H}
    out: dict[str, Array] = {name: np.zeros((T, N, width)) for name, width in widths.items()}
    out |= {"gates": np.zeros((T, N, G)), "dx": np.zeros((T, N, I))}
    out |= {name: np.zeros((N, width)) for name, width in {"h_n": P, "c_n": H, "dh0": P, "dc0": H}.items()}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *(NORMS if cell == "lstm_norm" else ("weight_hr",)))
    sums = tuple(f"d{name}" for name in names[: len(full)])
    out |= {name: np.zeros_like(w) for name, w in zip(sums, full, strict=True)}
    measured = {name: np.zeros(T) for name in MEASURED}
    terms: dict[str, float] = {}
    measured |= {name: np.zeros((T, GATES[cell])) for name in ("gate", "low", "high")}
    for n in range(N):
        times = list(range(lengths[n]))[:: -1 if reverse else 1]
        h, c, steps = h0[n], c0[n], []
        for t in times:
            step = Step(cell, full, x[t, n].astype(float), h, c)
            h, c = step.new_h, step.new_c
            steps.append(step)
            out["y"][t, n], out["c"][t, n], out["gates"][t, n] = h, c, step.gates
        out["h_n"][n], out["c_n"][n] = h, c
        dh, dc = dh_n[n], dc_n[n]
        along, last = (dc_n[n] if cell in MEMORY else 0 * dc_n[n]), dh_n[n]
        for t, step in zip(times[::-1], steps[::-1], strict=True):
            dh = dh + dy[t, n]
            kept, along = step.path(along, dy[t, n] + last)
            last = 0 * last
            back = step.backward(dh, dc)
            out["dh"][t, n], out["dc"][t, n], out["dx"][t, n] = dh, back["dc"], back["dx"]
            for name, of in (("dx", "dx"), ("dh", "dh_old"), ("dh0", "dh_old")):
                terms[name] = max(terms.get(name, 0.0), back.get(f"{of}_terms", np.zeros(1)).max())
            for name in sums:
                out[name] += back[name]
            seen = {"rows": np.ones(1), "h": step.new_h, "c": step.new_c, "dh": dh, "dc": back["dc"], "path": kept}
            if not cell.startswith("rnn"):
                seen["rest"] = (back["dc"] if cell in MEMORY else dh) - kept
            entry = len(times) - 1 - times.index(t) if from_end else times.index(t)
            for name, value in seen.items():
                measured[name][entry] += np.sum(value**2)
            values, (low, high) = step.gates.reshape(GATES[cell], H), BOUNDS[cell]
            measured["gate"][entry] += values.sum(1)
            measured["low"][entry] += (values <= np.array(low)[:, None]).sum(1)
            measured["high"][entry] += (values >= np.array(high)[:, None]).sum(1)
            dh, dc = back["dh_old"], back["dc_old"]
        out["dh0"][n], out["dc0"][n] = dh, dc
    return out | {"measured": measured, "terms": terms}


def slopes(value: Callable[[], float], array: Array) -> Array:
    """Difference quotients of a value by the elements of an array that it is computed from."""
    found = np.zeros_like(array)
    for at in np.ndindex(array.shape):
        kept, ends = array[at], []
        for step in (1e-5, -1e-5):
            array[at] = kept + step
            ends.append(value())
        array[at] = kept
        found[at] = (ends[0] - ends[1]) / 2e-5
    return found
