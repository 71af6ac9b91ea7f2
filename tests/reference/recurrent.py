"""Recurrent cells in NumPy float64, one sample and one step at a time; gradients by the chain rule, written out."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1, "gru_reset_before": 3}


def sigmoid(a: Array) -> Array:
    small = np.exp(-np.abs(a))
    return np.where(a < 0, small, 1.0) / (1 + small)


def sigmoid_slope(a: Array) -> Array:
    small = np.exp(-np.abs(a))
    return small / (1 + small) ** 2


def tanh_slope(a: Array) -> Array:
    small = np.exp(-2 * np.abs(a))
    return 4 * small / (1 + small) ** 2


class Step:
    """One step of one sample: x (I), h and c (H); where weight_hr (P, H) is a fifth weight, h (P)."""

    def __init__(self, cell: str, weights: tuple[Array, ...], x: Array, h: Array, c: Array) -> None:
        self.cell, self.weights, self.x, self.h, self.c = cell, weights, x, h, c
        weight_ih, weight_hh, bias_ih, bias_hh, *self.projection = weights
        self.from_x = np.split(weight_ih @ x + bias_ih, GATES[cell])
        self.from_h = np.split(weight_hh @ h + bias_hh, GATES[cell])
        if cell == "lstm":
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

    def path(self, along: Array, own: Array) -> tuple[Array, Array]:
        """The derivative by the new c (GRU: h) if weight_hh had none, and what is left of it at the old one.

        ``along``: what later steps hand down; ``own``: the derivative by h from no later step.
        """
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
    """y, h_n, c_n, gates, c of every step, and with dy all gradients; x (T, N, I)."""
    T, N, I = x.shape
    P, G = weights[1].shape[1], len(weights[1])
    H = G // GATES[cell]
    full = tuple(np.zeros(G) if w is None else w.astype(float) for w in weights)
    states = ((h0, P), (c0, H), (dh_n, P), (dc_n, H))
    h0, c0, dh_n, dc_n = (np.zeros((N, width)) if a is None else a.astype(float) for a, width in states)
    lengths = np.full(N, T) if lengths is None else np.asarray(lengths)
    dy = np.zeros((T, N, P)) if dy is None else dy.astype(float)
    widths = {"y": P, "c": H, "dh": P, "dc": H}
    out: dict[str, Array] = {name: np.zeros((T, N, width)) for name, width in widths.items()}
    out |= {"gates": np.zeros((T, N, G)), "dx": np.zeros((T, N, I))}
    out |= {name: np.zeros((N, width)) for name, width in {"h_n": P, "c_n": H, "dh0": P, "dc0": H}.items()}
    sums = ("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh", "dweight_hr")[: len(full)]
    out |= {name: np.zeros_like(w) for name, w in zip(sums, full, strict=True)}
    measured = {name: np.zeros(T) for name in MEASURED}
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
        along, last = (dc_n[n] if cell == "lstm" else 0 * dc_n[n]), dh_n[n]
        for t, step in zip(times[::-1], steps[::-1], strict=True):
            dh = dh + dy[t, n]
            kept, along = step.path(along, dy[t, n] + last)
            last = 0 * last
            back = step.backward(dh, dc)
            out["dh"][t, n], out["dc"][t, n], out["dx"][t, n] = dh, back["dc"], back["dx"]
            for name in sums:
                out[name] += back[name]
            seen = {"rows": np.ones(1), "h": step.new_h, "c": step.new_c, "dh": dh, "dc": back["dc"], "path": kept}
            if not cell.startswith("rnn"):
                seen["rest"] = (back["dc"] if cell == "lstm" else dh) - kept
            entry = len(times) - 1 - times.index(t) if from_end else times.index(t)
            for name, value in seen.items():
                measured[name][entry] += np.sum(value**2)
            values, (low, high) = step.gates.reshape(GATES[cell], H), BOUNDS[cell]
            measured["gate"][entry] += values.sum(1)
            measured["low"][entry] += (values <= np.array(low)[:, None]).sum(1)
            measured["high"][entry] += (values >= np.array(high)[:, None]).sum(1)
            dh, dc = back["dh_old"], back["dc_old"]
        out["dh0"][n], out["dc0"][n] = dh, dc
    return out | {"measured": measured}
