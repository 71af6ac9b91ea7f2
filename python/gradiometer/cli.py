"""The command line: ``gradiometer diagnose | task | explain | info | selftest``.

Data go to stdout, progress and errors to stderr. Exit status: 0, 2 for wrong use or input, 3 under ``--check`` when a
rule fails (and when ``selftest`` finds a fault).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

if TYPE_CHECKING:
    from gradiometer.datasets import Splits
    from gradiometer.diagnosis import CureResult, Diagnosis
    from gradiometer.networks import Sequential
    from gradiometer.report.text import Style

__all__ = ["main"]

FAILED = 3
"""Exit status of ``--check`` and ``selftest``."""

SAMPLES = 256

STEPS_OF_TIME = 100
IN_TIME = ("vowels", "adding", "copy", "pixels", "sunspots", "text")
"""Data sets of sequences, by the names of ``--data``."""
MODELS = ("mlp", "rnn", "lstm", "gru")
OF_MLP = ("depth", "width", "activation", "norm", "residual", "init", "gain")
OF_TIME = ("hidden", "layers", "forget_bias")

Task = Literal["classification", "regression"]
LOSSES: dict[str, Task] = {
    "cross_entropy": "classification",
    "bce_with_logits": "classification",
    "mse": "regression",
    "huber": "regression",
}
DEFAULT_LOSS = {"classification": "cross_entropy", "regression": "mse"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: ``sys.argv[1:]``.
    """
    arguments, unknown = parser().parse_known_args(argv)
    if unknown:
        arguments.parser.refuse(unknown)
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (head, less) has left: nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except (ValueError, TypeError, IndexError, ImportError, OSError, MemoryError) as error:
        sys.stderr.write(f"gradiometer: error: {' '.join(str(error).split())}\n")
        return 2


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = Parser(
        prog="gradiometer",
        description="Measures how gradients vanish or explode, says why, and proves a cure.",
    )
    top.add_argument("--version", action=Version, nargs=0, help="show the version and leave")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    diagnose = commands.add_parser(
        "diagnose",
        help="build a network, measure it on data, say what is wrong, try cures",
        formatter_class=Help,
    )
    data = diagnose.add_argument_group("data")
    data.add_argument(
        "--data",
        default="digits",
        metavar="NAME|FILE",
        help=f"digits, or a .csv or .npz file; in time {', '.join(IN_TIME)}, or with --model rnn, lstm or gru a .npz "
        "file with x (samples, steps, channels), y and, for padded sequences, lengths",
    )
    data.add_argument("--steps-of-time", type=positive, metavar="T", help="of adding and copy (default: 100)")
    data.add_argument(
        "--target", metavar="COLUMN", help="column of a .csv to predict, by name or number (default: last)"
    )
    data.add_argument("--drop-missing", action="store_true", help="leave out rows of a .csv with missing values")
    data.add_argument("--one-hot", action="store_true", help="make a feature of every word in a .csv")
    data.add_argument("--samples", type=positive, default=SAMPLES, help="training samples to measure on")
    network = diagnose.add_argument_group("network")
    network.add_argument("--model", choices=MODELS, help="mlp, or in time rnn, lstm or gru (default: mlp, in time rnn)")
    network.add_argument("--hidden", type=positive, metavar="N", help="units of a recurrent layer (default: 64)")
    network.add_argument("--layers", type=positive, metavar="N", help="recurrent layers (default: 1)")
    network.add_argument(
        "--forget-bias", type=real_number, metavar="B", help="of an lstm (default: as torch's, near 0)"
    )
    network.add_argument("--depth", type=positive, default=20, help="hidden layers")
    network.add_argument("--width", type=positive, default=128, help="units of a hidden layer")
    network.add_argument("--activation", default="relu", help="see gradiometer info")
    norms = ["none", "batch", "layer", "rms"]
    network.add_argument("--norm", choices=norms, default="none", help="before the activation")
    network.add_argument("--residual", action="store_true", help="skips around hidden layers, scaled by 1/sqrt(depth)")
    network.add_argument("--init", default="xavier_normal", help="see gradiometer info")
    network.add_argument("--gain", type=factor, default=1.0, help="times the initialiser's standard deviation")
    network.add_argument(
        "--loss", help="cross_entropy or bce_with_logits for classes, mse or huber for values (default: by the target)"
    )
    network.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of the network")
    network.add_argument("--seed", type=natural, default=0, help="of weights and of the order of samples")
    cures = diagnose.add_argument_group("cures")
    cures.add_argument(
        "--budget",
        type=seconds,
        metavar="SECONDS",
        help="for all cures together (default: 4.5, and on a slow or busy machine what 50 steps take, at most 20)",
    )
    cures.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help="steps of the first round, in place of a budget: repeatable to the bit",
    )
    cures.add_argument("--no-cure", action="store_true", help="do not try any")
    output = diagnose.add_argument_group("output")
    output.add_argument("--all", action="store_true", help="show every layer")
    output.add_argument("--json", action="store_true", help="print JSON in place of text")
    output.add_argument("--html", metavar="FILE", type=Path, help="write a report as well")
    output.add_argument("--check", action="store_true", help=f"exit with {FAILED} when a rule fails")
    diagnose.set_defaults(command=run_diagnose, parser=diagnose)

    task = commands.add_parser(
        "task",
        help="train recurrent networks on a task that asks for memory, beside its baseline",
        formatter_class=Help,
    )
    task.add_argument("name", metavar="NAME", help="vowels, digits, adding, copy, forecast or text")
    task.add_argument("--steps-of-time", type=positive, metavar="T", help="of adding and copy (default: 100)")
    task.add_argument("--series", metavar="FILE", help="of forecast: a .csv in the order of time (default: sunspots)")
    task.add_argument("--column", metavar="COLUMN", help="of that file, by name or number (default: last)")
    task.add_argument("--horizon", type=positive, metavar="N", help="of forecast: steps to foretell (default: 6)")
    task.add_argument("--text", metavar="FILE", help="of text (default: the help of this Python)")
    task.add_argument("--hidden", type=positive, metavar="N", help="units (default: the task's)")
    task.add_argument(
        "--steps", type=positive, metavar="N", help="training steps of each network (default: the task's)"
    )
    task.add_argument("--seed", type=natural, default=0, help="of weights, order and made data")
    task.add_argument("--json", action="store_true", help="print JSON in place of text")
    task.set_defaults(command=run_task, parser=task)

    explain = commands.add_parser("explain", help="what a rule means; without ID, the list of rules")
    explain.add_argument("id", metavar="ID", nargs="?", help="for example vanishing-gradient")
    explain.set_defaults(command=run_explain, parser=explain)

    info = commands.add_parser("info", help="version, instruction sets, threads, names of what can be chosen")
    info.add_argument("--json", action="store_true", help="print JSON in place of text")
    info.set_defaults(command=run_info, parser=info)

    selftest = commands.add_parser("selftest", help="check the kernels on this CPU against float64")
    selftest.set_defaults(command=run_selftest, parser=selftest)
    return top


class Parser(argparse.ArgumentParser):
    """Errors in one line, with the option that was meant."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Leave with an error about what is no option and no argument."""
        from gradiometer.arguments import near

        first = unknown[0]
        data = any("--data" in action.option_strings for action in self._actions)
        if first.startswith("-"):
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            hint = near(first.partition("=")[0], known)
        else:
            hint = f" (did you mean --data {first}?)" if data else ""
        self.error(f"{first.partition('=')[0]} is not known{hint}")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


class Version(argparse.Action):
    """``--version``, looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: Any) -> None:
        import gradiometer

        print(f"gradiometer {gradiometer.__version__}")
        parser.exit()


def positive(text: str) -> int:
    return int(number(text, int, 1, "a whole number, 1 or more"))


def natural(text: str) -> int:
    return int(number(text, int, 0, "a whole number, 0 or more"))


def factor(text: str) -> float:
    return float(number(text, float, 0.0, "a factor, 0 or more"))


def seconds(text: str) -> float:
    return float(number(text, float, 0.01, "seconds, 0.01 or more"))


def real_number(text: str) -> float:
    return float(number(text, float, -1e6, "a number"))


def number(text: str, kind: Callable[[str], Any], lowest: float, expected: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not lowest <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


# diagnose


def run_diagnose(arguments: argparse.Namespace) -> int:
    """Build, measure, judge, cure, show."""
    import gradiometer as gm

    if arguments.html is not None:
        check_writable(arguments.html)
    data = load(arguments)
    loss = arguments.loss or DEFAULT_LOSS[data.task]
    if LOSSES[loss] != data.task:
        raise ValueError(f"--loss {loss} does not fit the target, which is one for {data.task}")
    if loss == "bce_with_logits":
        if in_time(arguments):
            raise ValueError(f"--loss {loss} is not for sequences; expected cross_entropy")
        data = with_labels(data)
    if arguments.samples < 2:
        raise ValueError(f"--samples is {arguments.samples}; expected 2 or more")
    if arguments.samples > max(SAMPLES, len(data.train)):
        sys.stderr.write(
            f"gradiometer: --samples is {arguments.samples}: all {len(data.train)} for training are used\n"
        )
    net = build(arguments, data)
    measurement = gm.measure(net, *data.train[: arguments.samples], loss=loss, memory=memory(arguments))
    diagnosis = gm.diagnose(measurement)
    if not (arguments.json or arguments.no_cure):
        show_diagnosis(arguments, data, diagnosis)
        sys.stdout.flush()

    cures = None
    if not arguments.no_cure:
        from gradiometer.diagnosis.experiment import BUDGET

        with Progress(None if arguments.steps else arguments.budget or BUDGET) as progress:
            cures = gm.cure(
                net,
                data.train,
                data.val,
                test=data.test,
                budget=arguments.budget,
                steps=arguments.steps,
                loss=loss,
                seed=arguments.seed,
                progress=progress,
            )
    if arguments.json:
        show_json(arguments, data, diagnosis, cures)
    elif cures is None:
        show_diagnosis(arguments, data, diagnosis)
    else:
        from gradiometer.diagnosis.text import cures_text

        print("\n" + cures_text(cures, style(), data_code(arguments, data, loss)))
    if arguments.html is not None:
        write_html(arguments, data, diagnosis, cures, data_code(arguments, data, loss))
    if not arguments.json:
        hint(arguments, diagnosis)
    return FAILED if arguments.check and diagnosis.failed else 0


def check_writable(path: Path) -> None:
    """Refuses before the work what could not be written after it."""
    parent = path.absolute().parent
    if path.is_dir():
        raise ValueError(f"--html {path} is a directory; expected the name of a file")
    if not parent.is_dir():
        raise ValueError(f"--html {path}: there is no directory {path.parent}")
    # A file is put in the place of the old one, so the directory counts; a device is written to.
    if not os.access(parent if path.is_file() or not path.exists() else path, os.W_OK):
        raise ValueError(f"--html {path}: nothing can be written to {path.parent}")


def load(arguments: argparse.Namespace) -> Splits:
    from gradiometer import datasets
    from gradiometer.arguments import choice

    if arguments.loss is not None:
        choice("--loss", arguments.loss, LOSSES)
    if arguments.steps_of_time is not None and arguments.data not in ("adding", "copy"):
        raise ValueError("--steps-of-time is for --data adding and copy")
    if arguments.data in ("digits", *IN_TIME):
        if arguments.target is not None:
            raise ValueError(f"--target is for a .csv file, {arguments.data} has one target")
        name, options = in_package(arguments)
        made: Splits = getattr(datasets, name)(**options)
        return made
    task = LOSSES.get(arguments.loss)
    if in_time(arguments):
        refuse_table_options(arguments)
        return datasets.load_sequences(arguments.data, task=task, rng=arguments.seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        data = datasets.load(
            arguments.data,
            arguments.target,
            task=task,
            constant="zero",
            missing="drop" if arguments.drop_missing else "error",
            text="one-hot" if arguments.one_hot else "error",
            rng=arguments.seed,
        )
    for warning in said:
        sys.stderr.write(f"gradiometer: {warning.message}\n")
    return data


def in_time(arguments: argparse.Namespace) -> bool:
    """Whether the data are sequences: by name, or a file with a model for them."""
    own = arguments.data.lower().endswith(".npz") and arguments.model not in (None, "mlp")
    return own or arguments.data in IN_TIME


def refuse_table_options(arguments: argparse.Namespace) -> None:
    """Options of a .csv file make no sense of sequences."""
    if arguments.target is not None:
        raise ValueError(f"--target is for a .csv file; {arguments.data} is .npz, whose target is its array y")
    given = "--drop-missing" if arguments.drop_missing else "--one-hot" if arguments.one_hot else ""
    if given:
        raise ValueError(f"{given} is for a .csv file, not for {arguments.data}")


def with_labels(data: Splits) -> Splits:
    """The same data with a column of 0 and 1 a class in place of its number; one column for two classes."""
    import numpy as np

    labels = np.eye(len(data.classes), dtype=np.float32)[:, len(data.classes) == 2 :]
    train, val, test = (dataclasses.replace(part, y=labels[part.y]) for part in data)
    return dataclasses.replace(data, train=train, val=val, test=test)


def in_package(arguments: argparse.Namespace) -> tuple[str, dict[str, int]]:
    """The function of ``gm.datasets`` that makes a data set of that name, and its arguments."""
    length = arguments.steps_of_time or STEPS_OF_TIME
    calls: dict[str, tuple[str, dict[str, int]]] = {
        "digits": ("digits", {}),
        "vowels": ("vowels", {}),
        "adding": ("adding", {"steps": length, "train": 5000, "rng": arguments.seed}),
        "copy": ("copy_memory", {"steps": length, "train": 2000, "val": 200, "test": 200, "rng": arguments.seed}),
        "pixels": ("sequential_digits", {}),
        "sunspots": ("sunspots", {"window": 33, "horizon": 6}),
        "text": ("characters", {"limit": 50_000}),
    }
    return calls[arguments.data]


def memory(arguments: argparse.Namespace) -> int | None:
    """Steps that the data are known to ask a network to bridge."""
    length = arguments.steps_of_time or STEPS_OF_TIME
    return {"adding": length // 2, "copy": length}.get(arguments.data)


def data_code(arguments: argparse.Namespace, data: Splits, loss: str) -> str:
    """Lines of Python that make the very data."""
    if arguments.data in ("digits", *IN_TIME):
        name, settings = in_package(arguments)
        said = ", ".join(f"{key}={value}" for key, value in settings.items())
        lines = [f"train, val, test = gm.datasets.{name}({said})"]
    elif in_time(arguments):
        options = [quoted(arguments.data)]
        options += [f'task="{LOSSES[arguments.loss]}"'] if arguments.loss is not None else []
        lines = [f"train, val, test = gm.datasets.load_sequences({', '.join(options)}, rng={arguments.seed})"]
    else:
        options = [quoted(arguments.data)]
        options += [quoted(arguments.target)] if arguments.target is not None else []
        options += [f'task="{LOSSES[arguments.loss]}"'] if arguments.loss is not None else []
        options += ['missing="drop"'] if arguments.drop_missing else []
        options += ['text="one-hot"'] if arguments.one_hot else []
        options += ['constant="zero"', f"rng={arguments.seed}"]
        lines = [f"train, val, test = gm.datasets.load({', '.join(options)})"]
    if loss == "bce_with_logits":
        columns = "[:, 1:]" if len(data.classes) == 2 else ""
        lines += [
            f"labels = np.eye({len(data.classes)}, dtype=np.float32){columns}",
            "train, val, test = ((part.x, labels[part.y]) for part in (train, val, test))",
        ]
        lines.insert(0, "import numpy as np")
    return "\n".join(lines)


def quoted(text: str) -> str:
    """`text` as Python writes it, in double quotes where it can be."""
    return repr(text) if set(text) & set("\"'\\") or not text.isprintable() else f'"{text}"'


def build(arguments: argparse.Namespace, data: Splits) -> Sequential:
    import gradiometer as gm
    from gradiometer.arguments import choice

    if model_of(arguments) != "mlp":
        return build_recurrent(arguments, data)
    choice("--activation", arguments.activation, gm.kernels.activations())
    choice("--init", arguments.init, gm.init.names())
    return gm.mlp(
        data.train.x.shape[1],
        [arguments.width] * arguments.depth,
        data.train.y.shape[1] if data.train.y.ndim > 1 else data.outputs,
        activation=arguments.activation,
        norm=None if arguments.norm == "none" else arguments.norm,
        residual=arguments.residual,
        init=arguments.init,
        gain=arguments.gain,
        rng=arguments.seed,
        dtype=arguments.dtype,
    )


def model_of(arguments: argparse.Namespace) -> str:
    """The kind of network, and whether it fits the data and the other options."""
    sequences = in_time(arguments)
    model = str(arguments.model or ("rnn" if sequences else "mlp"))
    if (model != "mlp") != sequences:
        known = f"--data {', '.join(IN_TIME)} or a .npz file"
        fits = "rnn, lstm or gru" if sequences else f"mlp; sequences are {known}"
        raise ValueError(f"--model {model} does not fit --data {arguments.data}; expected {fits}")
    get = arguments.parser.get_default
    given = [name for name in (OF_MLP if sequences else OF_TIME) if getattr(arguments, name) != get(name)]
    given += ["forget_bias"] if sequences and model != "lstm" and arguments.forget_bias is not None else []
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} is not for --model {model}")
    return model


def build_recurrent(arguments: argparse.Namespace, data: Splits) -> Sequential:
    from gradiometer.tasks import recurrent

    options = {} if arguments.forget_bias is None else {"forget_bias": arguments.forget_bias}
    return recurrent(
        model_of(arguments),
        data,
        arguments.hidden or 64,
        arguments.layers or 1,
        seed=arguments.seed,
        dtype=arguments.dtype,
        **options,
    )


def about_data(data: Splits) -> str:
    """The data in one line: sizes, what a file's target was taken for, features that say nothing."""
    if not data.target:
        return str(data)
    values = f"{len(data.classes)} classes" if data.classes else "regression"
    constant = [i for i, scale in enumerate(data.scale) if scale == float("inf")]
    names = [f"column {data.features[i]!r}" if data.features else f"feature {i} of x" for i in constant]
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    notes = [f"{names[0]}{more} is constant: carried as 0"] if names else []
    notes += [f"rows with missing values left out: {data.dropped}"] if data.dropped else []
    return ", ".join([str(data), f"target {data.target}: {values}", *notes])


def setting(arguments: argparse.Namespace, diagnosis: Diagnosis) -> str:
    """The network in one line."""
    measurement = diagnosis.measurement
    if model_of(arguments) == "mlp":
        parts = [measurement.network, arguments.activation]
        parts += [f"{arguments.norm} norm"] if arguments.norm != "none" else []
        parts += ["residual"] if arguments.residual else []
        parts += [arguments.init] + ([f"gain {arguments.gain:g}"] if arguments.gain != 1.0 else [])
    else:
        parts = [measurement.network]
        parts += [f"forget bias {arguments.forget_bias:g}"] if arguments.forget_bias is not None else []
    parts += [measurement.loss, measurement.dtype, f"{measurement.samples} samples"]
    return ", ".join([*parts, f"seed {arguments.seed}"])


def show_diagnosis(arguments: argparse.Namespace, data: Splits, diagnosis: Diagnosis) -> None:
    from gradiometer.diagnosis.text import diagnosis_text
    from gradiometer.report.text import wrap

    print(wrap(about_data(data), hanging="  "))
    print(wrap(setting(arguments, diagnosis), hanging="  ") + "\n")
    how = "Without --no-cure these and others are put to the test." if arguments.no_cure else None
    print(diagnosis_text(diagnosis, all_layers=arguments.all, style=style(), unfold="--all", how=how))


def show_json(arguments: argparse.Namespace, data: Splits, diagnosis: Diagnosis, cures: CureResult | None) -> None:
    from gradiometer.report.numbers import json_text

    found: dict[str, Any] = {
        "data": about_data(data),
        "setting": setting(arguments, diagnosis),
        **diagnosis.to_dict(),
    }
    if cures is not None:
        found["cure"] = cures.to_dict()
        del found["cure"]["diagnosis"]  # said once, above
    print(json_text(found))


def write_html(
    arguments: argparse.Namespace, data: Splits, diagnosis: Diagnosis, cures: CureResult | None, code: str
) -> None:
    from gradiometer.diagnosis.page import report

    facts = [("data set", about_data(data)), ("setting", setting(arguments, diagnosis))]
    activation = f" {arguments.activation}" if model_of(arguments) == "mlp" else ""
    title = f"{data.name}, {diagnosis.measurement.network}{activation}"
    report(diagnosis, cures, title=title, facts=facts, data=code).save(arguments.html)


def hint(arguments: argparse.Namespace, diagnosis: Diagnosis) -> None:
    written = [f"{arguments.html} written"] if arguments.html is not None else []
    why = [f"why: gradiometer explain {diagnosis.failed[0].id}"] if diagnosis.failed else []
    if written or why:
        print("\n" + "   ".join([*written, *why]))


def style() -> Style:
    from gradiometer.report.text import Style

    return Style.for_stream(sys.stdout)


class Progress:
    """What is being done, on one line of stderr that is written over and taken away at the end; with a bar and the
    time left where the time that all of it may take is known."""

    def __init__(self, budget: float | None = None) -> None:
        from gradiometer.progress import Meter

        self.meter, self.budget, self.began = Meter(), budget, time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.meter.clear()

    def keep(self, line: str) -> None:
        """A line that stays."""
        self.meter.clear()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def __call__(self, text: str, share: float | None = None) -> None:
        from gradiometer.progress import clock

        if share is not None:
            self.meter.show(share, text)
            return
        gone = time.monotonic() - self.began
        if self.budget is None or gone > self.budget:
            self.meter.show(None, text)
        else:
            self.meter.show(gone / self.budget, f"{clock(self.budget - gone)} left  {text}")


# task, explain, info, selftest


def run_task(arguments: argparse.Namespace) -> int:
    """Train a task's networks; the table."""
    from gradiometer import tasks
    from gradiometer.arguments import choice

    name = choice("NAME", arguments.name, tasks.names())
    options = {
        "length": ("--steps-of-time", arguments.steps_of_time, ("adding", "copy")),
        "series": ("--series", arguments.series, ("forecast",)),
        "column": ("--column", arguments.column, ("forecast",)),
        "horizon": ("--horizon", arguments.horizon, ("forecast",)),
        "file": ("--text", arguments.text, ("text",)),
    }
    given = {key: each for key, each in options.items() if each[1] is not None}
    for option, _, fits in given.values():
        if name not in fits:
            raise ValueError(f"{option} is for {' and '.join(fits)}, not for {name}")
    if arguments.column is not None and arguments.series is None:
        raise ValueError("--column is one of --series FILE, which is missing")
    with Progress() as progress:
        result = tasks.run(
            name,
            hidden=arguments.hidden,
            steps=arguments.steps,
            seed=arguments.seed,
            progress=progress,
            finished=progress.keep,
            **{key: value for key, (_, value, _) in given.items()},
        )
    if arguments.json:
        print(result.to_json())
    else:
        from gradiometer.tasks.table import result_text

        print(result_text(result, style()))
    return 0


def run_explain(arguments: argparse.Namespace) -> int:
    """One rule, or the list."""
    from gradiometer.diagnosis import explain
    from gradiometer.diagnosis.rules import RULES
    from gradiometer.report.text import Column, Table

    if arguments.id is None:
        rows = [(rule.id, rule.title) for rule in RULES]
        print(Table([Column("rule", align="left"), Column("", align="left")], rows).text(style=style()))
        return 0
    print(explain(arguments.id), end="")
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    """What this build is and what this machine gives it."""
    from gradiometer.selftest import about

    facts = about()
    if arguments.json:
        import json

        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return 0


def run_selftest(arguments: argparse.Namespace) -> int:
    """Every kernel on every instruction set of this CPU."""
    from gradiometer.report.text import Column, Table
    from gradiometer.selftest import checks, largest

    table = []
    failed = 0
    paint = style()
    with Progress() as progress:
        for check in checks():
            progress(f"{check.isa} {check.dtype} {check.name}")
            failed += not check.passed
            table.append(check)
    columns = [Column("isa", align="left"), Column("dtype", align="left"), Column("kernel", align="left")]
    columns += [
        Column("error", lambda v: f"{v:.3g}"),
        Column("allowed", lambda v: f"{v:g}"),
        Column("unit", align="left"),
    ]
    rows = [(c.isa, c.dtype, c.name, c.error, c.allowed, c.unit) for c in table if not c.passed]
    every = [Column("kernel", align="left")]
    for dtype in ("float32", "float64"):
        every.append(Column(dtype, lambda v: "" if v != v else f"{v:.3g}"))
        every.append(Column("allowed", lambda v: "" if v != v else f"{v:.3g}"))
    print(Table([*every, Column("unit", align="left")], largest(table)).text(style=paint))
    if rows:
        print("\n" + Table(columns, rows).text(style=paint))
    isas = ", ".join(dict.fromkeys(check.isa for check in table))
    print(f"{paint.status('FAIL' if failed else 'ok')}: {len(table) - failed} of {len(table)} checks passed on {isas}")
    return FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
