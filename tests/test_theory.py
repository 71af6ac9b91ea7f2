"""Mean field theory against closed forms, tabulated numbers and simulated nets.

Tables: E phi etc. at q = 1, fixed points and rates, critical points, each computed by an independent adaptive
quadrature. A row whose kernel does not exist yet joins in when it does.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from gradiometer import kernels, theory
from gradiometer.theory import LayerTheory, predict
from gradiometer.theory.quadrature import homogeneous, kinks

SMOOTH = ("identity", "tanh", "erf", "sigmoid", "gelu", "silu", "mish", "softplus")


def existing(rows):
    """Rows, by activation, that have a kernel."""
    return [pytest.param(*row, id=row[0]) for row in rows if row[0] in kernels.activations()]


def digits_of(text):
    """A printed number and half a unit of its last digit."""
    return pytest.approx(float(text), abs=0.51 * 10.0 ** -len(text.partition(".")[2]))


# activation, E phi, E phi^2, E phi'^2, E phi'^4, rate with batch norm, with layer norm, width constant
AT_UNIT_VARIANCE = [
    ("identity", "0.0000000", "1.0000000", "1.0000000", "1.0000000", "1.000000", "1.000000", "2.00000"),
    ("relu", "0.398942", "0.5000000", "0.5000000", "0.5000000", "1.46694", "1.000000", "5.00000"),
    ("leaky_relu", "0.394953", "0.50005000", "0.50005000", "0.500000", "1.45337", "1.000000", "4.9988"),
    ("tanh", "0.0000000", "0.394294", "0.464403", "0.341509", "1.17781", "1.17781", "3.7504"),
    ("erf", "0.0000000", "0.464559", "0.569410", "0.540380", "1.22570", "1.22570", "4.0000"),
    ("sigmoid", "0.5000000", "0.293379", "0.0448362", "0.00228565", "1.03359", "0.152827", "2.4109"),
    ("elu", "0.160521", "0.644945", "0.668102", "0.594411", "1.07901", "1.03590", "2.9951"),
    ("selu", "0.0000000", "1.0000000", "1.07157", "1.51135", "1.07157", "1.07157", "2.9486"),
    ("gelu", "0.282095", "0.425221", "0.455851", "0.433956", "1.31884", "1.07203", "5.2650"),
    ("silu", "0.206621", "0.355776", "0.379482", "0.286581", "1.21208", "1.06663", "4.9701"),
    ("mish", "0.240404", "0.452342", "0.479084", "0.421736", "1.21426", "1.05912", "4.5124"),
    ("softplus", "0.806059", "0.921246", "0.293379", "0.131594", "1.08053", "0.318459", "3.5867"),
    ("softsign", "0.0000000", "0.183014", "0.227671", "0.110742", "1.24401", "1.24401", "5.4094"),
    ("hardtanh", "0.0000000", "0.516059", "0.682689", "0.682689", "1.32289", "1.32289", "3.3944"),
]


@pytest.mark.parametrize(
    ("activation", "mean", "second", "slope2", "slope4", "batch_norm", "layer_norm", "width"),
    existing(AT_UNIT_VARIANCE),
)
def test_moments(activation, mean, second, slope2, slope4, batch_norm, layer_norm, width):
    m = theory.moments(activation)
    assert m.mean == digits_of(mean)
    assert m.second == digits_of(second)
    assert m.slope2 == digits_of(slope2)
    assert m.slope4 == digits_of(slope4)
    assert theory.batch_norm_rate(activation) == digits_of(batch_norm)
    assert theory.layer_norm_rate(activation) == digits_of(layer_norm)
    assert theory.width_constant(activation) == digits_of(width)


# activation, then for weight variance 1, 2 and torch's default (1/3, bias variance 1/384): fixed point, rate
# there
FIXED_POINTS = [
    ("leaky_relu", ("0+", "0.50005"), ("inf", "1.0001"), ("0.003125", "0.166683")),
    ("tanh", ("0+", "1.000000"), ("0.617965", "1.105529"), ("0.003891", "0.330774")),
    ("erf", ("0.141924", "1.016903"), ("0.880751", "1.197365"), ("0.004495", "0.420648")),
    ("sigmoid", ("0.264687", "0.0557207"), ("0.555290", "0.100977"), ("0.087689", "0.019984")),
    ("elu", ("0+", "1.000000"), ("inf", "1.000000"), ("0.003818", "0.318093")),
    ("selu", ("1.000000", "1.071575"), ("inf", "1.10397"), ("0.007147", "0.636401")),
    ("gelu", ("0+", "0.25000"), ("0+", "0.50000"), ("0.002842", "0.083933")),
    ("silu", ("0+", "0.25000"), ("0+", "0.50000"), ("0.002841", "0.083569")),
    ("mish", ("0+", "0.36000"), ("0+", "0.72000"), ("0.002960", "0.120345")),
    # softplus > relu everywhere: at 2 its q grows for ever, if slower with each layer.
    ("softplus", ("0.856305", "0.288722"), ("inf", "1.000000"), ("0.189815", "0.086956")),
    ("softsign", ("0+", "1.000000"), ("0.079479", "1.042351"), ("0.003610", "0.279517")),
    ("hardtanh", ("0+", "1.000000"), ("1.052247", "1.340738"), ("0.003906", "0.333333")),
]


@pytest.mark.parametrize(("activation", "xavier", "he", "torch_default"), existing(FIXED_POINTS))
def test_fixed_point(activation, xavier, he, torch_default):
    for variances, (q, rate) in (((1.0, 0.0), xavier), ((2.0, 0.0), he), ((1 / 3, 1 / 384), torch_default)):
        point = theory.fixed_point(activation, *variances)
        if q in ("0+", "inf"):
            assert point.behaviour == q
            assert point.q == (0.0 if q == "0+" else math.inf)
        else:
            assert point.behaviour == "finite"
            assert point.q == digits_of(q)
            assert point.chi_parallel < 1
        assert point.chi == digits_of(rate)


def test_relu_has_a_fixed_point_everywhere_at_the_critical_variance():
    for start in (0.1, 1.0, 30.0):
        assert theory.fixed_point("relu", 2.0, start=start).q == start
    assert theory.fixed_point("relu", 1.0).behaviour == "0+"
    assert theory.fixed_point("relu", 2.1).behaviour == "inf"


# activation, q*, weight variance, bias variance, chi_parallel
CRITICAL_POINTS = [
    ("tanh", 1.0, "2.153303", "0.150965", "0.391465"),
    ("erf", 1.0, "1.756204", "0.184140", "0.333333"),
    ("elu", 1.0, "1.496777", "0.034660", "0.860087"),
    ("selu", 1.0, "0.933206", "0.066794", "0.730372"),
    ("softsign", 1.0, "4.392296", "0.196148", "0.383205"),
    ("hardtanh", 1.0, "1.464795", "0.244080", "0.291125"),
    ("gelu", 1.0, "2.193700", "0.067192", "1.067192"),
    ("gelu", (3 + math.sqrt(17)) / 2, "1.98305826", "0.17292239", "1.00000000"),
    ("silu", 14.32017362, "1.98800468", "0.55514317", "1.00000000"),
    ("mish", 2.0, "1.994289", "0.112002", "0.994497"),
]


@pytest.mark.parametrize(
    ("activation", "q", "weight_variance", "bias_variance", "stability"), existing(CRITICAL_POINTS)
)
def test_critical_point(activation, q, weight_variance, bias_variance, stability):
    (point,) = theory.critical_line(activation, [q])
    assert point.weight_variance == digits_of(weight_variance)
    assert point.bias_variance == digits_of(bias_variance)
    assert point.chi_parallel == digits_of(stability)
    assert theory.chi(activation, q, point.weight_variance) == pytest.approx(1.0, abs=1e-12)
    kept = theory.q_map(activation, q, point.weight_variance, point.bias_variance)
    assert kept == pytest.approx(q, rel=1e-12)
    if float(stability) < 0.999:
        assert point.usable
        reached = theory.fixed_point(activation, point.weight_variance, point.bias_variance, start=2 * q)
        assert reached.q == pytest.approx(q, rel=1e-8)


def test_an_unstable_critical_point_is_not_usable():
    assert not theory.critical_point("gelu", 1.0).usable
    assert theory.critical_initialisation("gelu", 0.1) is None
    stable = theory.critical_initialisation("gelu", 0.18)
    assert stable.usable
    assert stable.q > (3 + math.sqrt(17)) / 2


@pytest.mark.parametrize(
    ("bias_variance", "weight_variance", "q"),
    [
        (1e-4, "1.086026", "0.045709"),
        (1e-3, "1.189190", "0.107292"),
        (0.01, "1.424205", "0.273301"),
        (0.05, "1.760955", "0.570048"),
        (0.1, "1.986073", "0.805799"),
        (0.2, "2.285152", "1.164496"),
        (0.5, "2.843167", "1.971031"),
        (1.0, "3.443211", "3.036396"),
        (2.0, "4.266396", "4.830586"),
    ],
)
def test_critical_line_of_tanh(bias_variance, weight_variance, q):
    point = theory.critical_initialisation("tanh", bias_variance)
    assert point.weight_variance == digits_of(weight_variance)
    assert point.q == digits_of(q)


def test_critical_initialisation_without_biases():
    assert theory.critical_initialisation("relu").weight_variance == pytest.approx(2.0, rel=1e-12)
    for activation in ("tanh", "elu"):
        point = theory.critical_initialisation(activation)
        assert point.q == 0
        assert point.weight_variance == pytest.approx(1.0, rel=1e-8)
    sigmoid = theory.critical_initialisation("sigmoid")
    assert sigmoid.weight_variance == digits_of("103.0076")
    assert sigmoid.q == digits_of("45.6243")
    assert sigmoid.chi_parallel == digits_of("0.06025")
    assert theory.critical_initialisation("gelu") is None
    assert theory.critical_initialisation("silu") is None


@pytest.mark.parametrize(
    ("weight_variance", "q", "chi", "c", "length"),
    [
        (0.5, "0.087580", "0.431987", "1.000000", "1.1914"),
        (1.0, "0.193593", "0.759032", "1.000000", "3.6270"),
        (1.3, "0.315316", "0.880164", "1.000000", "7.8341"),
        (1.5, "0.418037", "0.938636", "1.000000", "15.7910"),
        (2.0, "0.721762", "1.047666", "0.744082", "25.2134"),
        (2.5, "1.063958", "1.133516", "0.446804", "11.7956"),
        (3.0, "1.428008", "1.208934", "0.299318", "9.0515"),
        (4.0, "2.195494", "1.342402", "0.165065", "6.9803"),
    ],
)
def test_order_and_chaos_of_tanh(weight_variance, q, chi, c, length):
    point = theory.fixed_point("tanh", weight_variance, 0.05)
    assert point.q == digits_of(q)
    assert point.chi == digits_of(chi)
    assert theory.fixed_correlation("tanh", point.q, weight_variance, 0.05) == digits_of(c)
    assert theory.correlation_length("tanh", point.q, weight_variance, 0.05) == digits_of(length)


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 7.0, 2500.0])
def test_closed_forms(q):
    """relu q/2 and 1/2; leaky (1 + a^2)/2; elu by the moments of exp over half a Gaussian."""
    relu = theory.moments("relu", q)
    assert (relu.second, relu.slope2, relu.cross) == pytest.approx((q / 2, 0.5, q / 2), rel=1e-12)
    assert relu.mean == pytest.approx(math.sqrt(q / (2 * math.pi)), rel=1e-12)
    (slope_name,) = kernels.activation_parameters("leaky_relu")
    a = 0.3
    leaky = theory.moments("leaky_relu", q, **{slope_name: a})
    assert (leaky.second, leaky.slope2) == pytest.approx((q * (1 + a * a) / 2, (1 + a * a) / 2), rel=1e-12)

    def half(k):
        """E exp(k x) over x < 0."""
        t = k * math.sqrt(q)
        tail = math.exp(t * t / 2) * math.erfc(t / math.sqrt(2)) / 2 if t < 35 else 0.0
        return tail or 1 / (t * math.sqrt(2 * math.pi)) * (1 - 1 / t**2 + 3 / t**4)

    elu = theory.moments("elu", q)
    assert elu.slope2 == pytest.approx(0.5 + half(2), rel=1e-9)
    assert elu.slope4 == pytest.approx(0.5 + half(4), rel=1e-9)
    assert elu.second == pytest.approx(q / 2 + half(2) - 2 * half(1) + 0.5, rel=1e-9, abs=1e-15)


def test_cross_is_the_derivative_of_second():
    for activation in ("tanh", "gelu", "selu"):
        for q in (0.2, 1.0, 5.0):
            step = 1e-5 * q
            rise = theory.moments(activation, q + step).second - theory.moments(activation, q - step).second
            assert theory.moments(activation, q).cross == pytest.approx(q * rise / (2 * step), rel=1e-8)


def test_kinks_and_homogeneity_are_found():
    expected = {
        "relu": (0.0,),
        "leaky_relu": (0.0,),
        "prelu": (0.0,),
        "elu": (0.0,),
        "selu": (0.0,),
        "hardtanh": (-1.0, 1.0),
    }
    for activation in kernels.activations():
        if activation in {*expected, *SMOOTH}:
            assert kinks(activation) == expected.get(activation, ())
            assert homogeneous(activation) == (activation in {"identity", "relu", "leaky_relu", "prelu"})


def test_moments_against_a_plain_sum():
    """Trapezium over a fine grid, at a shift and a width that no piece is made for."""
    z = np.linspace(-12, 12, 400_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    for activation in ("tanh", "gelu", "sigmoid"):
        x = 3.7 * z - 0.9
        y = kernels.forward(activation, x)
        slope = kernels.backward(activation, x, np.ones_like(x))
        m = theory.moments(activation, 3.7**2, shift=-0.9)
        assert m.mean == pytest.approx(density @ y, rel=1e-11)
        assert m.second == pytest.approx(density @ y**2, rel=1e-11)
        assert m.slope4 == pytest.approx(density @ slope**4, rel=1e-11)


def test_tanh_at_the_critical_variance_falls_as_a_power_of_depth():
    q, product = 1.0, 1.0
    for _ in range(100):
        q = theory.q_map("tanh", q, 1.0)
        product *= theory.chi("tanh", q, 1.0)
    assert q == digits_of("0.00506902")
    assert product == digits_of("0.0152092")


def arc_cosine(c):
    """Kernels of relu: derivatives k0 and values k1 (Cho & Saul 2009)."""
    return (math.pi - math.acos(c)) / math.pi, (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi


@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.25, 0.9, 0.999, 1 - 1e-6, 1 - 1e-10, 1.0])
def test_correlation_of_relu(c):
    k0, k1 = arc_cosine(c)
    assert theory.c_slope("relu", c, 1.7, 2.0) == pytest.approx(k0, rel=1e-9, abs=1e-12)
    # 1 - c keeps its relative accuracy; arc_cosine itself loses it to cancellation near 1.
    lost = 1 - theory.c_map("relu", c, 1.7, 2.0)
    assert lost == pytest.approx(1 - k1, rel=1e-8, abs=5e-16)


def test_correlation_of_relu_over_depth():
    c, product = 0.0, 1.0
    expected_c = {1: "0.318310", 2: "0.4937", 3: "0.6048", 10: "0.87154", 20: "0.94843", 50: "0.98786"}
    expected_product = {5: "0.104559", 10: "0.0336522", 20: "0.00823534", 50: "0.000912024"}
    for depth in range(1, 51):
        product *= theory.c_slope("relu", c, 1.0, 2.0)
        c = theory.c_map("relu", c, 1.0, 2.0)
        if depth in expected_c:
            assert c == digits_of(expected_c[depth])
        if depth in expected_product:
            assert product == digits_of(expected_product[depth])


@pytest.mark.parametrize("activation", ["tanh", "gelu", "elu", "sigmoid"])
@pytest.mark.parametrize("c", [-0.7, 0.2, 0.95])
def test_correlation_by_hermite_series(activation, c):
    """E phi(u1) phi(u2) = sum_k a_k^2 c^k over normalised Hermite coefficients (Mehler)."""
    q = 1.4
    z, weight = np.polynomial.hermite_e.hermegauss(180)
    weight = weight / math.sqrt(2 * math.pi)
    y = kernels.forward(activation, math.sqrt(q) * z)
    before, now, total = np.zeros_like(z), np.ones_like(z), 0.0
    for k in range(60):
        total += float(weight @ (y * now)) ** 2 * c**k
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    second = theory.moments(activation, q).second
    tolerance = 3e-5 if activation == "elu" else 1e-7  # the curvature of elu jumps: a_k^2 falls as k^-7/2
    assert theory.c_map(activation, c, q, 1.0) == pytest.approx(total / second, abs=tolerance)


@pytest.mark.parametrize(
    ("activation", "batch", "rate"),
    [
        ("relu", 4, "3.084061"),
        ("relu", 8, "1.788190"),
        ("relu", 16, "1.589950"),
        ("relu", 32, "1.521953"),
        ("relu", 64, "1.493063"),
        ("relu", 128, "1.479681"),
        ("relu", 256, "1.473234"),
        ("relu", 6, "2.0038"),
        ("identity", 32, "1.0345"),
    ],
)
def test_batch_norm_of_a_finite_batch(activation, batch, rate):
    assert theory.batch_norm_rate(activation, batch) == digits_of(rate)


def test_batch_norm_of_two_and_three_samples():
    assert theory.batch_norm_rate("tanh", 2) == 0
    assert theory.batch_norm_rate("relu", 3) == math.inf
    with pytest.raises(ValueError, match="batch must be at least 2, got 1"):
        theory.batch_norm_rate("relu", 1)


@pytest.mark.parametrize(
    ("activation", "gamma", "beta", "rate"),
    [
        ("tanh", 0.1, 0.0, "1.000126"),
        ("tanh", 0.25, 0.0, "1.003804"),
        ("tanh", 0.5, 0.0, "1.033592"),
        ("tanh", 2.0, 0.0, "1.611623"),
        ("gelu", 0.1, 0.0, "1.0123"),
        ("gelu", 0.5, 0.0, "1.1770"),
        ("relu", 1.0, -1.0, "2.319578"),
        ("relu", 1.0, 0.5, "1.249389"),
        ("relu", 1.0, 1.0, "1.120168"),
        ("relu", 1.0, 2.0, "1.017760"),
        ("relu", 1.0, 3.0, "1.001149"),
    ],
)
def test_batch_norm_with_gain_and_shift(activation, gamma, beta, rate):
    assert theory.batch_norm_rate(activation, gamma=gamma, beta=beta) == digits_of(rate)


def test_no_activation_beats_poincare():
    """E phi'^2 >= Var phi for every function of a Gaussian: batch norm never makes gradients vanish."""
    for activation in kernels.activations():
        assert theory.batch_norm_rate(activation) >= 1 - 1e-12


def test_decay_and_length_scales():
    assert theory.decay_length(math.exp(-0.25)) == pytest.approx(4.0)
    assert theory.decay_length(math.exp(0.25)) == pytest.approx(4.0)
    stability = theory.chi_parallel("tanh", 1.0, 2.153303)
    assert theory.length_scale("tanh", 1.0, 2.153303) == pytest.approx(-1 / math.log(stability))
    assert math.isnan(theory.length_scale("gelu", 1.0, 2.1937))


def test_float32_zero_depth():
    for rate, depth in ((0.0557207, "72.0"), (0.02, "53.2"), (0.25, "150.0")):
        assert theory.float32_zero_depth(math.sqrt(rate)) == digits_of(depth)
    assert theory.float32_zero_depth(1.0) == math.inf
    # Counted: halvings until float32 holds nothing.
    entry, layers = np.float32(3e-5), 0
    while entry:
        entry, layers = np.float32(entry * np.float32(0.5)), layers + 1
    assert layers == math.ceil(theory.float32_zero_depth(0.5, 3e-5))


def test_interval_of_a_rate():
    rate, low, high = theory.rate_interval(0.5**50, layers=50, width=128, constant=5.0)
    assert math.log(rate) == pytest.approx(math.log(0.5) + 5 / 256)
    assert math.log(high / low) == pytest.approx(2 * 0.0548, abs=2e-4)
    _, low4, high4 = theory.rate_interval(0.5**50, layers=50, width=128, constant=5.0, seeds=4)
    assert math.log(high4 / low4) == pytest.approx(math.log(high / low) / 2)


VALUE = {
    "softplus": lambda x: np.log1p(np.exp(x)),
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
SLOPE = {
    "softplus": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: (x > 0) * 1.0,
    "tanh": lambda x: 1 / np.cosh(x) ** 2,
    "sigmoid": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
}


AXIS = {"batch": 0, "layer": 1, "rms": 1}


def normed(x, norm):
    axis = AXIS[norm]
    centred = x if norm == "rms" else x - x.mean(axis=axis, keepdims=True)
    sd = np.sqrt((centred**2).mean(axis=axis, keepdims=True))
    return centred / sd, sd


def through_norm(dy, y, sd, norm):
    axis = AXIS[norm]
    mean = 0.0 if norm == "rms" else dy.mean(axis=axis, keepdims=True)
    return (dy - mean - y * (dy * y).mean(axis=axis, keepdims=True)) / sd


def simulate(layers, x, rng):
    """A net of random weights: per layer the mean square and spread of a, the mean square of h, and, for a
    random gradient at the output, the factor of its norm."""
    tape, forward = [], []
    h = x
    for layer in layers:
        shape = (layer.fan_out, layer.fan_in)
        weight = rng.normal(0, math.sqrt(layer.weight_variance / layer.fan_in), shape)
        bias = rng.normal(0, math.sqrt(layer.bias_variance), layer.fan_out)
        raw = h @ weight.T + bias
        first = layer.norm is not None and not layer.norm_last
        a, sd = normed(raw, layer.norm) if first else (raw, 1.0)
        branch = VALUE[layer.activation](a)
        if layer.norm_last:
            branch, sd = normed(branch, layer.norm)
        last = branch
        h = branch if layer.residual is None else h + layer.residual * branch
        tape.append((layer, weight, sd, a, last))
        forward.append((np.mean(a**2), math.sqrt(a.var(axis=0).mean() / np.mean(a**2)), np.mean(h**2)))
    dh = rng.normal(size=h.shape)
    factors = []
    for layer, weight, sd, a, last in reversed(tape):
        da = (layer.residual or 1.0) * dh
        if layer.norm_last:
            da = through_norm(da, last, sd, layer.norm)
        da = da * SLOPE[layer.activation](a)
        if layer.norm and not layer.norm_last:
            da = through_norm(da, a, sd, layer.norm)
        dx = da @ weight + (0.0 if layer.residual is None else dh)
        factors.append(np.linalg.norm(dx) / np.linalg.norm(dh))
        dh = dx
    q, spread, second = np.array(forward).T
    return q, spread, second, np.array(factors[::-1])


@pytest.mark.parametrize(
    ("activation", "weight_variance", "bias_variance"),
    [("relu", 1.0, 0.0), ("tanh", 1.0, 0.0), ("sigmoid", 1.0, 0.0), ("tanh", 1.76, 0.05), ("relu", 2.0, 0.1)],
)
def test_prediction_of_a_plain_net(activation, weight_variance, bias_variance):
    """One sample; tolerance: the finite width's log-normal scatter, 3.5 standard errors, and a bias of 1/N a
    layer."""
    width, depth, seeds = 200, 20, 20
    layers = [LayerTheory(width, width, weight_variance, bias_variance, activation)] * depth
    theory_says = predict(layers, input_mean_square=1.0, input_spread=0.0)
    logs = []
    for seed in range(seeds):
        rng = np.random.default_rng([1, seed])
        x = rng.normal(size=(1, width))
        x /= math.sqrt(np.mean(x**2))
        logs.append(np.log(simulate(layers, x, rng)[3]).sum())
    scatter = sum(layer.scatter for layer in theory_says)
    expected = sum(math.log(layer.factor) for layer in theory_says) - scatter
    tolerance = 3.5 * 1.2 * math.sqrt(scatter / seeds) + depth / (2 * width)
    assert np.mean(logs) == pytest.approx(expected, abs=tolerance)
    assert np.std(logs, ddof=1) == pytest.approx(math.sqrt(scatter), rel=0.4)


def test_prediction_follows_the_signal_from_a_real_input():
    """Widths that change, an input of any scale and spread: q, spread and output layer by layer."""
    rng = np.random.default_rng(5)
    widths = [200, 400, 300, 300, 300]
    layers = [
        LayerTheory(fan_in, fan_out, 1.8, 0.04, activation)
        for fan_in, fan_out, activation in zip(widths, widths[1:], ("relu", "tanh", "sigmoid", "tanh"), strict=False)
    ]
    x = 1.7 + 0.8 * rng.normal(size=(40, widths[0]))
    found = predict(layers, np.mean(x**2), input_spread=math.sqrt(x.var(axis=0).mean() / np.mean(x**2)))
    runs = [simulate(layers, x, np.random.default_rng([6, seed])) for seed in range(16)]
    q, spread, second, factor = (np.mean(values, axis=0) for values in zip(*runs, strict=True))
    # The common part of the input makes q of one net scatter by sqrt(2/N), 7 %.
    assert [layer.q for layer in found] == pytest.approx(q, rel=0.06)
    assert [layer.spread for layer in found] == pytest.approx(spread, rel=0.06)
    assert [layer.second for layer in found] == pytest.approx(second, rel=0.06)
    assert [layer.factor for layer in found] == pytest.approx(factor, rel=0.04)


def test_prediction_of_a_collapsed_input_keeps_its_digits():
    """Sigmoid: a spread far below what 1 - c could hold in float64."""
    layers = [LayerTheory(128, 128, 1.0, 0.0, "sigmoid")] * 50
    found = predict(layers)
    assert found[-1].spread < 1e-25
    ratio = found[-1].spread / found[-2].spread
    assert ratio == pytest.approx(math.sqrt(theory.fixed_point("sigmoid", 1.0).chi), rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "tolerance"),
    [("relu", 0.02), ("tanh", 0.06)],  # tanh: theory has the limit of a large batch
)
def test_prediction_of_a_net_with_batch_norm(activation, tolerance):
    """The first layer too, whose input has a mean and another variance; the top layers are left out, where a
    random gradient still has a part along the directions that batch norm removes."""
    width, depth, batch = 250, 9, 24
    layers = [LayerTheory(width, width, 2.0, 0.0, activation, norm="batch")] * depth
    logs, seconds = [], []
    for seed in range(4):
        rng = np.random.default_rng([2, seed])
        x = 0.9 + 0.5 * rng.normal(size=(batch, width))
        _, spread, second, factor = simulate(layers, x, rng)
        logs.append(np.log(factor))
        seconds.append(second)
    assert spread == pytest.approx(np.ones(depth))
    found = predict(layers, 0.81 + 0.25, batch, input_spread=math.sqrt(0.25 / (0.81 + 0.25)))
    expected = np.log([layer.factor for layer in found])
    measured = np.mean(logs, axis=0)
    assert measured[0] == pytest.approx(expected[0], abs=0.08)
    assert measured[1:-3].mean() == pytest.approx(expected[1:-3].mean(), abs=tolerance / 2 + 0.01)
    assert np.mean(seconds, axis=0) == pytest.approx([layer.second for layer in found], rel=0.03)


@pytest.mark.parametrize(
    ("activation", "norm", "scale"),
    [("relu", None, 1.0), ("relu", None, 0.3), ("tanh", None, 1.0), ("relu", "batch", 1.0)],
)
def test_prediction_of_a_residual_net(activation, norm, scale):
    width, depth, batch = 200, 8, 24
    layers = [LayerTheory(width, width, 2.0, 0.0, activation, norm=norm, residual=scale)] * depth
    logs, seconds = [], []
    for seed in range(4):
        rng = np.random.default_rng([3, seed])
        _, _, second, factor = simulate(layers, rng.normal(size=(batch, width)), rng)
        logs.append(np.log(factor).sum())
        seconds.append(second)
    found = predict(layers, 1.0, batch)
    total = sum(math.log(layer.factor) for layer in found)
    tolerance = 0.02 * depth * scale**2
    assert np.mean(logs) == pytest.approx(total, abs=tolerance)
    log_second = np.log([layer.second for layer in found])
    assert np.mean(np.log(seconds), axis=0) == pytest.approx(log_second, abs=0.02 + tolerance)


@pytest.mark.parametrize(
    ("activation", "norm", "residual", "tolerance"),
    [
        ("relu", "batch", None, 0.04),  # theory has the limit of a large batch
        ("tanh", "batch", None, 0.04),
        ("relu", "batch", 0.5, 0.02),
        ("relu", "layer", None, 0.015),
        ("tanh", "layer", 0.5, 0.015),
        ("relu", "rms", None, 0.015),
    ],
)
def test_prediction_of_a_norm_after_the_activation(activation, norm, residual, tolerance):
    width, depth, batch = 200, 8, 64
    layers = [LayerTheory(width, width, 2.0, 0.0, activation, norm=norm, norm_last=True, residual=residual)] * depth
    logs = []
    for seed in range(4):
        rng = np.random.default_rng([7, seed])
        _, _, second, factor = simulate(layers, rng.normal(size=(batch, width)), rng)
        logs.append(np.log(factor)[:-2])  # a random gradient has a part along what the norm removes
    found = predict(layers, 1.0, batch)
    expected = np.log([layer.factor for layer in found])[:-2]
    assert np.mean(logs) == pytest.approx(expected.mean(), abs=tolerance)
    assert second == pytest.approx([layer.second for layer in found], rel=0.03)
    if activation == "tanh":  # relu is homogeneous: there the order does not matter for a batch norm's rate
        swapped = predict([replace(layer, norm_last=False) for layer in layers], 1.0)
        assert abs(math.log(swapped[3].factor) - expected[3]) > tolerance


def test_prediction_of_batch_norm_after_the_activation_wants_a_centred_input():
    layer = LayerTheory(100, 100, 2.0, 0.0, "relu", norm="batch", norm_last=True)
    assert math.isnan(predict([layer], 1.0, input_spread=0.8)[0].factor)


@pytest.mark.parametrize(("activation", "weight_variance"), [("relu", 2.0), ("softplus", 1.0), ("tanh", 2.0)])
def test_a_residual_branch_that_leans_on_its_skip(activation, weight_variance):
    """He-relu: without the part along x theory would say 1.0165 a layer, 0.49 in all, and 0.84 is measured."""
    width, depth = 128, 30
    layers = [LayerTheory(width, width, weight_variance, 0.0, activation, residual=depth**-0.5)] * depth
    totals = []
    for seed in range(6):
        rng = np.random.default_rng([8, seed])
        totals.append(np.log(simulate(layers, rng.normal(size=(32, width)), rng)[3]).sum())
    total = sum(math.log(layer.factor) for layer in predict(layers, 1.0))
    # The mean of a logarithm lies below the logarithm of the mean: half the variance.
    error = np.std(totals, ddof=1) / math.sqrt(6)
    assert np.mean(totals) == pytest.approx(total, abs=3.5 * error + 0.01)
    orthogonal = sum(math.log(layer.factor) for layer in predict([replace(one, fan_out=10**9) for one in layers], 1.0))
    if activation == "relu":
        assert total - orthogonal > 10 * error


def test_residual_relu_doubles_and_a_scaled_branch_stays_at_e():
    doubled = predict([LayerTheory(100, 10**15, 2.0, 0.0, "relu", residual=1.0)] * 10)
    assert math.prod(layer.factor**2 for layer in doubled) == pytest.approx(2.0**10, rel=1e-9)
    scaled = predict([LayerTheory(100, 10**15, 2.0, 0.0, "relu", residual=50**-0.5)] * 50)
    assert math.log(math.prod(layer.factor**2 for layer in scaled)) == pytest.approx(0.990, abs=5e-4)
    closed = predict([LayerTheory(100, 100, 2.0, 0.0, "relu", residual=0.0)] * 5)
    assert all(layer.factor == 1 for layer in closed)


def test_residual_batch_norm_grows_as_a_power_of_depth():
    """ln of prod (1 + (1/2) / (1 + l Var relu)), the form with batch norm in the branch; printed for He
    weights after the activation, where both grow by 2 in the same ratio."""
    variance = 2.0 * theory.moments("relu").variance
    for depth, growth in ((10, "2.853"), (20, "3.760"), (40, "4.718"), (80, "5.705")):
        scale = math.sqrt(2.0)  # the branch's mean square is then 1, as that of W relu(x) with He weights
        layer = LayerTheory(100, 100, 1.0, 0.0, "relu", norm="batch", residual=scale)
        found = predict([layer] * depth)
        assert sum(2 * math.log(one.factor) for one in found) == digits_of(growth)
        assert found[1].factor ** 2 == pytest.approx(1 + 1 / (1 + variance), rel=1e-12)


def test_prediction_is_silent_where_theory_is():
    plain = LayerTheory(10, 10, 1.0, 0.0, "tanh")
    other = LayerTheory(10, 10, 1.0, 0.0, "tanh", norm="unknown")
    before, silent, after = predict([plain, other, plain])
    assert math.isfinite(before.factor)
    for layer in (silent, after):
        assert all(math.isnan(v) for v in (layer.q, layer.second, layer.spread, layer.factor))
    lost = LayerTheory(10, 10, math.nan, 0.0, "relu")
    assert math.isnan(predict([lost])[0].factor)
    exploded = predict([LayerTheory(10, 10, 1e80, 0.0, "relu")] * 5)
    assert exploded[2].factor == pytest.approx(math.sqrt(5e79), rel=1e-9)
    assert math.isnan(exploded[4].factor)
    dead = predict([LayerTheory(10, 10, 0.0, 0.0, "relu"), LayerTheory(10, 10, 1.0, 0.0, "relu", norm="batch")])
    assert dead[0].factor == 0
    assert math.isnan(dead[1].factor)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.moments("relu", -1.0), "q must be a finite variance >= 0, got -1.0"),
        (lambda: theory.moments("relu", math.nan), "q must be a finite variance >= 0, got nan"),
        (lambda: theory.moments("relu", shift=math.inf), "shift must be finite, got inf"),
        (lambda: theory.moments("nosuch"), "nosuch"),
        (lambda: theory.fixed_point("relu", 0.0), "weight_variance must be finite and > 0, got 0.0"),
        (lambda: theory.fixed_point("relu", 1.0, -0.1), "bias_variance must be finite and >= 0, got -0.1"),
        (lambda: theory.fixed_point("relu", 1.0, start=0.0), "start must be finite and > 0, got 0.0"),
        (lambda: theory.c_map("relu", 1.1, 1.0, 1.0), "c must be a correlation between -1 and 1, got 1.1"),
        (lambda: theory.critical_point("relu", 0.0), "q must be finite and > 0, got 0.0"),
        (lambda: theory.critical_initialisation("relu", -1.0), "bias_variance must be finite and >= 0"),
        (lambda: theory.decay_length(-1.0), "factor must be >= 0, got -1.0"),
        (lambda: theory.rate_interval(0.0, 1, 1, 1.0), "ratio must be > 0, got 0.0"),
        (lambda: theory.float32_zero_depth(-0.5), "factor and entry must be >= 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
