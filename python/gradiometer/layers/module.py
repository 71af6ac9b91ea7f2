"""What every layer is: a description that emits nodes into a graph, and arrays that move into a compiled network."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from gradiometer import _core
from gradiometer.sequences import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from gradiometer.sequences import Sequences

__all__ = ["Builder", "Compiled", "Module", "Node"]

T = TypeVar("T")


class Node:
    """A node of a compiled graph: its id, layer type, inputs, attributes and the module that emitted it.

    `suffix` follows the native names of its tensors in the module's.
    """

    def __init__(
        self,
        id: int,
        type: str,
        inputs: tuple[int, ...],
        attributes: dict[str, float | str],
        module: Module,
        suffix: str = "",
    ) -> None:
        self.id = id
        self.type = type
        self.inputs = inputs
        self.attributes = attributes
        self.module = module
        self.suffix = suffix


class Builder:
    """A native graph under construction, and who emitted which node."""

    def __init__(self, features: int, sequence: bool = False) -> None:
        self.graph = _core.Graph(features, sequence)
        self.nodes: list[Node] = []

    def add(self, module: Module, type: str, inputs: tuple[int, ...], **attributes: float | str) -> int:
        """A node of a layer type; returns its id."""
        return self.add_named(module, type, inputs, "", attributes)

    def add_named(
        self, module: Module, type: str, inputs: tuple[int, ...], suffix: str, attributes: dict[str, float | str]
    ) -> int:
        """A node whose tensors are the module's of the native names with `suffix` behind them; returns its id."""
        id = self.graph.add(type, list(inputs), attributes)
        self.nodes.append(Node(id, type, inputs, attributes, module, suffix))
        return id


class Module:
    """Base of layers and networks.

    A subclass keeps its configuration (``_config``, the arguments that rebuild it), its arrays by torch's names
    (``_arrays``), its children (``_children``), and emits nodes (``_emit``).
    """

    dtype: str
    _arrays: dict[str, NDArray[Any]]
    _state: tuple[str, ...] = ()  # arrays that are no parameters
    _frozen: frozenset[str]  # parameters that are not trained
    _home: Compiled | None  # where the arrays live

    def __init__(self, dtype: str = "float32") -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
        self.dtype = dtype
        self._arrays = {}
        self._frozen = frozenset()
        self._home = None

    # ---- what a subclass says of itself

    @property
    def in_features(self) -> int | None:
        """Features it wants, None if it takes any."""
        return None

    @property
    def sequences(self) -> bool:
        """Whether it takes sequences, x (N, T, in_features) or `Sequences`: it is a recurrent layer or has one."""
        return any(child.sequences for _, child in self._children())

    def _config(self) -> dict[str, Any]:
        raise NotImplementedError

    def _children(self) -> tuple[tuple[str, Module], ...]:
        return ()

    def _emit(self, builder: Builder, x: int) -> int:
        raise NotImplementedError

    # ---- what all can do

    def __call__(self, x: ArrayLike | Sequences, *, training: bool = False) -> NDArray[Any]:
        """Forward pass.

        Parameters
        ----------
        x : array_like (N, features), of what takes sequences (N, T, features) or Sequences
            Converted once to the dtype of the module.
        training : bool
            Use batch statistics (running statistics are left as they are).

        Returns
        -------
        ndarray (N, out_features), or (N, T, out_features), 0 beyond the lengths
        """
        array, lengths = split(x)
        y: NDArray[Any] = self._compile(x).network.forward(array, training=training, lengths=lengths)
        return y

    def backward(
        self, x: ArrayLike | Sequences, dy: ArrayLike, *, training: bool = True
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Forward and backward pass: ``dx`` (N, in_features) and the gradients by name of all parameters that are not
        frozen.

        Parameters
        ----------
        x : array_like (N, in_features), or as a call takes it
        dy : array_like (N, out_features), or (N, T, out_features)
            Derivative of a loss by the output; not read beyond the lengths.
        training : bool
            Differentiate through batch statistics; running statistics are left as they are.
        """
        compiled = self._compile(x)
        with compiled.lock:
            array, lengths = split(x)
            _, dx = compiled.network.gradient(array, "dot", dy, want_dx=True, training=training, lengths=lengths)
            return dx, {name: array.copy() for name, array in compiled.gradients().items()}

    @property
    def requires_grad(self) -> dict[str, bool]:
        """Whether a parameter is trained, by name; `requires_grad_` changes it."""
        return {name: own not in module._frozen for name, module, own in self._named_parameters()}

    def requires_grad_(self, requires_grad: bool = True, *names: str) -> Self:
        """Freeze parameters, or train them again; torch's name, in place.

        A frozen parameter keeps its value: the optimiser leaves it and its slots alone, without decay, and clipping
        does not see its gradient. Training saves its work: no gradient by it is computed, and none by the layers
        beneath the lowest one that trains. Batch norm still normalises by the batch and moves its running statistics
        when training, as in torch. `measure` sees every layer, frozen or not. Copies and pickles keep the flags;
        ``state_dict`` and checkpoints hold values only.

        Parameters
        ----------
        requires_grad : bool
            False: freeze.
        *names : str
            Parameters by their names in this module, as in ``state_dict``; default: all of this module and those below.

        Returns
        -------
        Module
            Itself.

        Raises
        ------
        KeyError, TypeError
            For a name that is no parameter, or another value; nothing is changed then.

        Examples
        --------
        Train a new last layer on a network that stays as it is:

        >>> import gradiometer as gm
        >>> train, val, _ = gm.datasets.digits()
        >>> body = gm.Sequential(gm.Linear(64, 32, rng=0), gm.Activation("relu")).requires_grad_(False)
        >>> net = gm.Sequential(body, gm.Linear(32, 10, rng=1))
        >>> before = net.state_dict()
        >>> history = net.fit(train, epochs=3, rng=0)
        >>> [name for name, value in net.state_dict().items() if (value != before[name]).any()]
        ['1.weight', '1.bias']

        The bias alone, or the body as well:

        >>> net.requires_grad_(False, "1.weight").requires_grad
        {'0.0.weight': False, '0.0.bias': False, '1.weight': False, '1.bias': True}
        >>> net[0].requires_grad_()[0].requires_grad
        {'weight': True, 'bias': True}
        """
        if not isinstance(requires_grad, bool | np.bool_):
            raise TypeError(f"requires_grad is {requires_grad!r}; expected True or False")
        known = {name: (module, own) for name, module, own in self._named_parameters()}
        for name in names:
            if name not in known:
                raise KeyError(f"{name!r} is no parameter of the module; expected one of {list(known)}")
        for name in names or known:
            module, own = known[name]
            module._frozen = module._frozen - {own} if requires_grad else module._frozen | {own}
            if module._home is not None:
                module._home.set_trainable(module, own)
        return self

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, by dotted name."""
        yield prefix, self
        for name, child in self._children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters and running statistics, by torch's names.

        Examples
        --------
        >>> import gradiometer as gm
        >>> sorted(gm.Sequential(gm.Linear(2, 3), gm.Activation("relu")).state_dict())
        ['0.bias', '0.weight']
        """
        return {name: array.copy() for name, array in self._named_arrays()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> None:
        """Copy values in by name; a PyTorch state dict of the same layout loads unchanged.

        Parameters
        ----------
        state : dict of name to array_like
        strict : bool
            Refuse missing and unexpected names, but for a missing ``num_batches_tracked``.

        Raises
        ------
        KeyError, ValueError, TypeError
            For names, shapes, or dtypes that do not fit; nothing is changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state is {type(state).__name__}; expected a dictionary of arrays by name")
        own = dict(self._named_arrays())
        given = {name: np.asarray(value) for name, value in state.items()}
        missing = sorted(name for name in own.keys() - given.keys() if not name.endswith("num_batches_tracked"))
        unexpected = sorted(given.keys() - own.keys())
        if strict and (missing or unexpected):
            raise KeyError(f"state does not fit: missing {missing}, unexpected {unexpected}")
        for name, value in given.items():
            if name not in own:
                continue
            if value.dtype.kind not in "fiu":
                raise TypeError(f"state[{name!r}] has dtype {value.dtype}; expected real numbers")
            if value.shape != own[name].shape:
                raise ValueError(f"state[{name!r}] has shape {value.shape}; expected {own[name].shape}")
        fitting = {name: given[name].astype(self.dtype) for name in own.keys() & given.keys()}
        for name, value in fitting.items():
            own[name][...] = value

    def copy(self) -> Module:
        """An independent copy: configuration and arrays."""
        return copy.deepcopy(self)

    def __copy__(self) -> Module:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        arrays = {name: a.copy() for name, a in self._arrays.items()}
        return _rebuild, (type(self), self._config(), arrays, self._frozen)

    def __deepcopy__(self, memo: dict[int, Any]) -> Module:
        rebuild, arguments = self.__reduce__()
        made: Module = rebuild(*copy.deepcopy(arguments, memo))
        return made

    def __repr__(self) -> str:
        known = inspect.signature(type(self)).parameters
        inner = []
        for key, value in self._config().items():
            default = known[key].default if key in known else None
            if default is inspect.Parameter.empty:
                inner.append(repr(value))
            elif value != default:
                inner.append(f"{key}={value!r}")
        return f"{type(self).__name__}({', '.join(inner)})"

    def _named_arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for prefix, module in self.named_modules():
            for name, array in module._arrays.items():
                yield (f"{prefix}.{name}" if prefix else name), array

    def _named_parameters(self) -> Iterator[tuple[str, Module, str]]:
        for prefix, module in self.named_modules():
            for name in module._arrays:
                if name not in module._state:
                    yield (f"{prefix}.{name}" if prefix else name), module, name

    def _compile(self, x: ArrayLike | Sequences | None = None) -> Compiled:
        """The native network, made when first needed; `x` tells the width of one that takes any."""
        wanted = self.in_features
        if wanted is None:
            if x is None:
                raise ValueError("the network takes any width; expected a layer that fixes in_features")
            shape = np.shape(x)
            if len(shape) != 2 or shape[1] < 1:
                raise ValueError(f"x has shape {shape}; expected (N, features)")
            wanted = shape[1]
        if self._home is not None and self._home.root is not self:
            return Compiled(self.copy(), wanted)  # a part of a network, called alone: its arrays stay where they are
        if self._home is None or self._home.network.in_features != wanted:
            self._home = Compiled(self, wanted)
        return self._home


def _rebuild(
    cls: type[Module],
    config: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    frozen: frozenset[str] = frozenset(),
) -> Module:
    module = cls(**config)
    module._frozen = frozen
    for name, array in arrays.items():
        module._arrays[name][...] = array
    return module


class Compiled:
    """A module as a native network.

    The flat buffers are NumPy arrays owned here, the modules' arrays are views into them: written by Python or by a
    native step, there is one copy. `lock` is held from a pass to the last look at the gradients it left.
    """

    root: Module

    def __init__(self, root: Module, features: int) -> None:
        modules = [module for _, module in root.named_modules()]
        if len({id(module) for module in modules}) != len(modules):
            raise ValueError("the same layer appears twice in the network; expected a layer of its own at each place")
        tree = {id(module) for module in modules}
        for name, module in root.named_modules():
            if module._home is not None and id(module._home.root) not in tree:
                raise ValueError(f"layer {name} ({module!r}) is part of another network; expected layer.copy()")
            if module._arrays and module.dtype != root.dtype:
                raise ValueError(f"layer {name} has dtype {module.dtype}; expected {root.dtype} like the network")
        self.lock = threading.RLock()
        self.builder = Builder(features, root.sequences)
        root._emit(self.builder, 0)
        self.network = _core.Network(self.builder.graph, root.dtype)
        self._gradients: list[tuple[Module, str, NDArray[Any]]] = []
        self._gradients_of: dict[int, dict[str, NDArray[Any]]] = {}
        self._made: dict[Callable[[Compiled], Any], Any] = {}
        self.root = root
        for module in modules:
            if module is root or module._arrays or module._children():
                module._home = self
        by_id = {node.id: node for node in self.builder.nodes}
        for of_state, flat in ((False, self.network.parameters), (True, self.network.state)):
            for node, own, shape, offset in self.network.tensors(of_state):
                module, name, size = by_id[node].module, own + by_id[node].suffix, int(np.prod(shape))
                view = flat[offset : offset + size].reshape(shape)
                view[...] = module._arrays[name]
                module._arrays[name] = view
                if not of_state:
                    gradient = self.network.gradients[offset : offset + size].reshape(shape)
                    self._gradients.append((module, name, gradient))
                    self._gradients_of.setdefault(id(module), {})[name] = gradient
                    if name in module._frozen:
                        self.set_trainable(module, name)

    @property
    def nodes(self) -> list[Node]:
        """The nodes after the input, in order; ``nodes[i].id == i + 1``."""
        return self.builder.nodes

    def once(self, make: Callable[[Compiled], T]) -> T:
        """``make(self)``, made at the first call: what others know of a network as long as it is the same one."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @functools.cached_property
    def parameter_count(self) -> int:
        """Number of parameters, padding left out."""
        return sum(gradient.size for _, _, gradient in self._gradients)

    @property
    def frozen(self) -> tuple[int, ...]:
        """The parameters that are not trained, by their place."""
        return tuple(i for i, (module, name, _) in enumerate(self._gradients) if name in module._frozen)

    def set_trainable(self, module: Module, name: str) -> None:
        """Tell the native network whether a parameter is frozen."""
        for i, (owner, own, _) in enumerate(self._gradients):
            if owner is module and own == name:
                self.network.set_trainable(i, name not in module._frozen)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Views of the gradients by name, as the last pass left them; those of frozen parameters are left out."""
        names = {id(module): prefix for prefix, module in self.root.named_modules()}
        trained = (row for row in self._gradients if row[1] not in row[0]._frozen)
        prefixes = ((names[id(module)], name, gradient) for module, name, gradient in trained)
        return {(f"{prefix}.{name}" if prefix else name): gradient for prefix, name, gradient in prefixes}

    def gradients_of(self, module: Module) -> dict[str, NDArray[Any]]:
        """Views of the gradients of one module's own parameters, by their names within it."""
        return self._gradients_of.get(id(module), {})

    @property
    def buffers(self) -> int:
        """Bytes of parameters, gradients and state."""
        return int(2 * self.network.parameters.nbytes + self.network.state.nbytes)

    def memory(self, batch: int, taps: int = 0, segments: int = 1, steps: int = 0) -> int:
        """Bytes of parameters, gradients and state, and of the arena for a training pass over a batch, of sequences of
        `steps` steps."""
        return self.buffers + int(self.network.arena(batch, taps, segments, steps))
