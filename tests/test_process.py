"""The library as a guest in a process: import, threads, forks, signals of memory, and what the host has set."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

Array = Any
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc, fork and resource limits as on Linux")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python code in a fresh process."""
    clean = {key: value for key, value in os.environ.items() if key != "GRADIOMETER_ISA"}
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | environment,
    )


def output(code: str, **environment: str) -> str:
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def network(dtype: str = "float32") -> gm.Sequential:
    return gm.mlp(64, [128] * 6, 10, activation="tanh", norm="batch", rng=0, dtype=dtype)


def batch(rows: int = 256) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 64)).astype(np.float32), rng.integers(0, 10, rows)


def work(net: gm.Sequential) -> bytes:
    """A forward and a backward pass, large enough for several threads."""
    x, y = batch()
    value, dx = net._compile().network.gradient(x, "cross_entropy", y, want_dx=True)
    return bytes(net(x).tobytes() + dx.tobytes() + np.float64(value).tobytes())


# ---- import


def test_import_starts_no_thread() -> None:
    threads = """
        import os, numpy
        before = len(os.listdir("/proc/self/task"))
        import gradiometer as gm
        print(gm.__version__ != "", gm.kernels.isa() != "")
        net = gm.Linear(2, 2, rng=0)
        net([[1.0, 2.0]])
        print(len(os.listdir("/proc/self/task")) - before)
    """
    assert output(threads, OMP_NUM_THREADS="4").split() == ["True", "True", "0"]


def test_import_brings_nothing_but_numpy() -> None:
    """Modules of ours only where they are used."""
    code = """
        import sys, numpy
        before = set(sys.modules)
        import gradiometer
        new = {name.split(".")[0] for name in set(sys.modules) - before}
        print(sorted(new - set(sys.stdlib_module_names)))
        print(sorted(name for name in sys.modules if name.startswith("gradiometer.")))
    """
    assert output(code).splitlines() == ["['gradiometer']", "[]"]


def test_subnormals_survive() -> None:
    """Neither the import nor a parallel call sets flush-to-zero, in the calling thread or in the pool's."""
    code = """
        import threading
        import numpy as np
        tiny = np.float32(1e-40), 5e-324 * 4

        def alive():
            return all(type(t)(t / 2) > 0 and type(t)(t * 1) == t for t in tiny)

        print(alive())
        import gradiometer as gm
        net = gm.mlp(64, [128] * 4, 10, rng=0)
        x = np.ones((256, 64), np.float32)
        gm.kernels.set_threads(3)
        net.fit((x, np.zeros(256, int)), steps=2)
        print(alive(), gm.measure(net, x, np.zeros(256, int)).flushes_subnormals)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(alive()))
        thread.start(); thread.join()
        print(seen[0])
        wide = np.full((4096, 64), 1e-40, np.float32)
        print(bool((gm.Activation("identity")(wide) == wide).all()))
        weight = np.eye(64, dtype=np.float32)
        print(bool((gm.kernels.linear_forward(wide, weight) == wide).all()))
    """
    assert output(code).split() == ["True", "True", "False", "True", "True", "True"]


# ---- the choice of kernels


@pytest.mark.parametrize("name", gm.kernels.isas())
def test_the_environment_forces_an_instruction_set(name: str) -> None:
    done = run("import gradiometer as gm; print(gm.kernels.isa())", GRADIOMETER_ISA=name)
    assert (done.stdout.strip(), done.stderr) == (name, "")


def test_an_unknown_instruction_set_is_said() -> None:
    best = gm.kernels.isas()[-1]
    done = run("import gradiometer as gm; print(gm.kernels.isa())", GRADIOMETER_ISA="avx9000")
    assert done.stdout.strip() == best
    assert "RuntimeWarning: GRADIOMETER_ISA=avx9000 is unknown or not supported by this CPU" in done.stderr
    assert f"{best} runs instead" in done.stderr
    strict = run("import warnings; warnings.simplefilter('error'); import gradiometer.kernels", GRADIOMETER_ISA="x")
    assert strict.returncode == 1
    with pytest.raises(ValueError, match="name is 'avx9000'; expected one of: scalar"):
        gm.kernels.set_isa("avx9000")


def test_the_number_of_threads_is_that_of_the_environment() -> None:
    assert output("import gradiometer as gm; print(gm.kernels.threads())", OMP_NUM_THREADS="3") == "3"
    for bad, error in ((-1, ValueError), ("2", TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            gm.kernels.set_threads(bad)  # type: ignore[arg-type]
    assert gm.kernels.threads() >= 1


# ---- forks


def child_gives(wanted: bytes, net: gm.Sequential) -> bool:
    """Whether a forked child does the same work within 5 s."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)  # kills a child that hangs
        os._exit(0 if work(net) == wanted else 1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_after_parallel_work() -> None:
    net = network()
    gm.kernels.set_threads(3)
    try:
        wanted = work(net)
        assert child_gives(wanted, net)
        assert child_gives(wanted, net.copy())
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(work, [net] * 4).get(timeout=20) == [wanted] * 4
        assert work(net) == wanted
    finally:
        gm.kernels.set_threads(0)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_is_inside() -> None:
    """The child can use the very network that was at work."""
    net, big = network(), gm.mlp(512, [1024] * 8, 10, norm="batch", rng=0)
    wanted = work(big_twin := network())
    x = np.zeros((2048, 512), np.float32)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(lambda: big(x, training=True))
        while not busy.running():
            pass
        results = []
        while not busy.done() and len(results) < 3:
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                same = work(net) == wanted
                os._exit(0 if same and big(x[:3]).shape == (3, 10) else 1)
            results.append(os.waitpid(pid, 0)[1])
        assert busy.result().shape == (2048, 10)
    assert results
    assert set(results) == {0}
    assert work(big_twin) == wanted


# ---- threads of the host


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exit_while_daemon_threads_are_inside(threads: int) -> None:
    done = run(
        f"""
        import sys, threading, time
        import numpy as np
        from gradiometer import kernels

        kernels.set_threads({threads})
        x, w = np.ones((60, 64, 64), "f4"), (np.ones((512, 64), "f4"), np.ones((512, 128), "f4"))
        inside = threading.Barrier(4)

        def work():
            inside.wait()
            while True:
                kernels.lstm_forward(x, w)

        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        inside.wait()
        time.sleep(0.1)
        print("left")
        """
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "left", "")


def test_many_python_threads_give_the_same_bits() -> None:
    """Networks of their own, one network for all, and kernels."""
    shared, x = network(), batch(64)[0]
    own = [network() for _ in range(8)]
    wanted = work(shared)
    y = shared(x).tobytes()
    tanh = gm.kernels.forward("tanh", x).tobytes()

    def loop(i: int) -> bool:
        good = True
        for _ in range(40):
            good &= shared(x).tobytes() == y
            good &= gm.kernels.forward("tanh", x).tobytes() == tanh
        for _ in range(5):
            good &= work(own[i]) == wanted
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(loop, range(8)))


def test_many_short_threads_leave_nothing() -> None:
    """Their pools go with them."""
    code = """
        import os, threading
        import numpy as np
        import gradiometer as gm
        gm.kernels.set_threads(2)
        net = gm.mlp(64, [128] * 4, 10, rng=0)
        x = np.zeros((256, 64), np.float32)

        def once():
            thread = threading.Thread(target=lambda: net(x))
            thread.start(); thread.join()

        def pages():
            return int(open("/proc/self/statm").read().split()[1])

        for _ in range(50): once()
        before, tasks = pages(), len(os.listdir("/proc/self/task"))
        for _ in range(300): once()
        print((pages() - before) * 4096 < 4_000_000, len(os.listdir("/proc/self/task")) <= tasks + 10)
    """
    assert output(code) == "True True"


# ---- Ctrl-C

INTERRUPTED = {
    "gelu": "K.forward('gelu', big, out=big)",
    "gelu backward": "K.backward('gelu', big, big, out=big)",
    "gemm": "K.gemm(square, square)",
    "linear": "K.linear_forward(square, square)",
    "linear backward": "K.linear_backward(square, square, square)",
    "training step": "net.fit((x, y), steps=1, batch_size=len(x))",
    "measurement": "gm.measure(net, x, y)",
    "prediction": "net.predict(x)",
}


@pytest.mark.parametrize("what", INTERRUPTED)
def test_ctrl_c_is_seen_within_a_call(what: str) -> None:
    """A signal 50 ms into a call of a second ends it before its end, and all is as before and usable."""
    code = f"""
        import os, signal, threading
        import numpy as np
        import gradiometer as gm
        K = gm.kernels
        K.set_isa("scalar")
        big, square = np.ones(60_000_000, np.float32), np.ones((2000, 2000), np.float32)
        net = gm.mlp(256, [1024] * 4, 10, rng=0)
        x, y = np.ones((8192, 256), np.float32), np.zeros(8192, int)
        before = net.parameters.copy()

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it as ignored
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            {INTERRUPTED[what]}
        except KeyboardInterrupt:
            print("interrupted")
        print(np.array_equal(net.parameters, before), K.forward("relu", np.ones(3)).sum(), net(x[:2]).shape)
    """
    assert output(code, OMP_NUM_THREADS="1").splitlines() == ["interrupted", "True 3.0 (2, 10)"]


def test_a_call_in_pieces_has_the_bits_of_its_parts() -> None:
    """Beyond 1 M elements and 1 GFLOP a call goes in pieces."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1 << 21) + 77).astype(np.float32)
    whole = gm.kernels.forward("gelu", x)
    slope = gm.kernels.backward("gelu", x, x)
    for part in (slice(0, 1000), slice((1 << 20) - 13, (1 << 20) + 13), slice((1 << 21) - 5, None)):
        assert np.array_equal(whole[part], gm.kernels.forward("gelu", x[part]))
        assert np.array_equal(slope[part], gm.kernels.backward("gelu", x[part], x[part]))
    a, b = rng.normal(size=(1100, 700)).astype(np.float32), rng.normal(size=(700, 1301)).astype(np.float32)
    c = gm.kernels.gemm(a, b)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, atol=1e-3)
    for rows in (slice(0, 256), slice(250, 531), slice(1000, None)):
        assert np.array_equal(c[rows], gm.kernels.gemm(a[rows], b))
    assert np.array_equal(c, gm.kernels.gemm(a, np.ascontiguousarray(b.T), "NT"))
    assert np.array_equal(c, gm.kernels.gemm(np.ascontiguousarray(a.T), b, "TN"))
    wt, bias = np.ascontiguousarray(b.T), rng.normal(size=1301).astype(np.float32)
    y = gm.kernels.linear_forward(a, wt, bias)
    assert np.array_equal(y[777:900], gm.kernels.linear_forward(a[777:900], wt, bias))
    dy = rng.normal(size=(1100, 1301)).astype(np.float32)
    dx, dweight, dbias = gm.kernels.linear_backward(a, wt, dy)
    assert np.array_equal(dx, gm.kernels.gemm(dy, wt))
    assert np.array_equal(dweight[600:700], gm.kernels.gemm(dy[:, 600:700], a, "TN"))
    np.testing.assert_allclose(dbias, dy.sum(axis=0, dtype=np.float64), atol=1e-3)


# ---- memory


def test_out_of_memory_leaves_the_network_usable() -> None:
    code = """
        import resource
        import numpy as np
        import gradiometer as gm
        net = gm.mlp(64, [256] * 20, 10, norm="batch", rng=0)
        x = np.ones((40_000, 64), np.float32)
        y = np.zeros(40_000, int)
        small = net(x[:300]).tobytes()
        net.fit((x[:256], y[:256]), optimizer=gm.optim.SGD(0.0), steps=1)
        state = {name: array.tobytes() for name, array in net.state_dict().items()}
        first = net(x[:300]).tobytes()
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
        for call in (
            lambda: net.fit((x, y), steps=1, batch_size=40_000),
            lambda: net(x, training=True),
            lambda: gm.measure(net, x, y),
        ):
            try:
                call()
            except MemoryError as error:
                print("MemoryError", any(c.isdigit() for c in str(error)))
        print(state == {name: array.tobytes() for name, array in net.state_dict().items()})
        print(net(x[:300]).tobytes() == first, net(x).shape)
        net.fit((x[:64], y[:64]), steps=2)
        print(gm.measure(net, x[:64], y[:64]).samples)
        try:
            gm.Linear(1_000_000, 1_000_000)
        except MemoryError:
            print("MemoryError")
    """
    lines = output(code, OMP_NUM_THREADS="1").splitlines()
    assert lines == ["MemoryError True"] * 3 + ["True", "True (40000, 10)", "64", "MemoryError"]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_ten_thousand_failures_leak_nothing() -> None:
    net = network()
    x, y = batch(8)
    native = net._compile().network
    slots = np.zeros((2, net.parameters.size), np.float32)
    adam = gm.optim.Adam().native

    def fail(n: int) -> None:
        calls = (
            lambda: net(x[:, :5]),
            lambda: native.step(x, "cross_entropy", y + 10, adam, slots, 0.1, 1),
            lambda: native.step(x, "hinge", y, adam, slots, 0.1, 1),
            lambda: native.step(x[:1], "cross_entropy", y[:1], adam, slots, 0.1, 1),
            lambda: native.gradient(x, "mse", y),
            lambda: native.forward(x.astype(complex)),
            lambda: gm.kernels.forward("tanh", x, out=x[:2]),
            lambda: gm.kernels.gemm(x, x),
            lambda: gm.optim.Adam(beta1=2.0),
            lambda: gm.Sequential(gm.Linear(4, 4, rng=0), gm.Linear(5, 4, rng=0)),
        )
        for _ in range(n):
            for call in calls:
                with pytest.raises((ValueError, TypeError, IndexError)):
                    call()

    fail(100)
    before = resident()
    fail(1000)
    assert resident() - before < 4_000_000


def test_networks_that_come_and_go_leave_nothing() -> None:
    import gc

    x, y = batch(64)

    def once() -> None:
        net = network()
        net.fit((x, y), steps=1, batch_size=64)
        gm.measure(net, x, y)
        del net
        gc.collect()  # a network and what it is compiled to know each other

    for _ in range(20):
        once()
    before = resident()
    for _ in range(60):
        once()
    assert resident() - before < 8_000_000


def test_measurements_of_one_network_at_once_do_not_mix() -> None:
    """Each reads the gradients of its own pass."""
    train, _, _ = gm.datasets.digits()
    net = gm.mlp(64, [16] * 4, 10, activation="tanh", rng=0)
    sizes = (16, 64, 256)

    def seen(n: int) -> str:
        return dataclasses.replace(gm.measure(net, *train[:n]), seconds=0.0).to_json()

    alone = {n: seen(n) for n in sizes}
    with ThreadPoolExecutor(len(sizes)) as pool:
        assert list(pool.map(lambda n: {seen(n) for _ in range(30)} == {alone[n]}, sizes)) == [True] * len(sizes)
