"""Where a tensor came from, as its autograd graph tells. No value is read and nothing is synchronised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

ACTIVATIONS = {
    "SoftmaxBackward0": "softmax",
    "LogSoftmaxBackward0": "log_softmax",
    "SigmoidBackward0": "sigmoid",
    "ReluBackward0": "relu",
}

SPREADING = frozenset({"BackwardHookFunctionBackward", "_DDPSinkBackward"})
"""What full backward hooks, and DDP where parameters may go unused, put behind a model's outputs: each is an input."""

# Operations that move or select values, or change nothing that matters to what the values mean. Pooling,
# products and sums are not among them: what comes out of those is something new.
PASSING = frozenset(
    {
        *SPREADING,
        "AliasBackward0",
        "AsStridedBackward0",
        "CatBackward0",
        "ClampBackward0",
        "ClampBackward1",
        "ClampMaxBackward0",
        "ClampMinBackward0",
        "CloneBackward0",
        "ExpandBackward0",
        "IndexBackward0",
        "IndexSelectBackward0",
        "PermuteBackward0",
        "ReshapeAliasBackward0",
        "SelectBackward0",
        "SliceBackward0",
        "SplitBackward0",
        "SplitWithSizesBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "SqueezeBackward2",
        "StackBackward0",
        "TBackward0",
        "ToCopyBackward0",
        "TransposeBackward0",
        "UnbindBackward0",
        "UnsafeViewBackward0",
        "UnsqueezeBackward0",
        "ViewBackward0",
    }
)
VIEWS = frozenset({"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"})
MATMULS = {"AddmmBackward0": 1, "MmBackward0": 0}
STEPS = 200


class Activation(NamedTuple):
    """The activation that made a tensor, up to views, casts, clamps and selections.

    Attributes:
        name: ``"softmax"``, ``"log_softmax"``, ``"sigmoid"`` or ``"relu"``.
        dim: The dimension that a softmax normalised; None where views lie between, or for other activations.
    """

    name: str
    dim: int | None

    @property
    def cause(self) -> str:
        """The name of the cause that leaving it before the loss is."""
        return self.name.replace("_", "-") + "-applied"


NEARBY = 2000
"""Nodes of a graph that are looked through for what entered the model."""

UNCHANGED = SPREADING | {"ToCopyBackward0", "CloneBackward0", "AliasBackward0"}


def is_passing(node: Any) -> bool:
    """Whether what made a tensor is behind the node of its own: a view, say, or a logarithm."""
    return node is not None and (node.name() in PASSING or node.name() == "LogBackward0")


def activation(tensor: Tensor) -> Activation | None:
    """The activation behind a tensor, or None. ``log(softmax(x))`` counts as log_softmax."""
    node: Any = tensor.grad_fn
    output = tensor.output_nr
    logged = False
    direct = True
    for _ in range(STEPS):
        if node is None:
            return None
        name = node.name()
        found = ACTIVATIONS.get(name)
        if found is not None:
            if logged and found != "softmax":
                return None
            dim = _saved_dim(node, tensor.ndim) if found.endswith("softmax") and direct and tensor.ndim else None
            return Activation("log_softmax" if logged else found, dim)
        if name == "LogBackward0" and not logged:
            logged = True
        elif name not in PASSING:
            return None
        elif name not in UNCHANGED and not name.startswith("Clamp"):
            direct = False
        operands = node.next_functions
        # Of tensors that were joined, each must come from an activation, and from the same one.
        joined = len(operands) > 1 and name not in SPREADING
        if joined and len({_first_activation(*operand) for operand in operands}) > 1:
            return None
        node, output = _behind(node, output)
    return None


def _behind(node: Any, output: int) -> tuple[Any, int]:
    """What an output of a node was made from, as a node and the number of its output."""
    behind: tuple[Any, int] = node.next_functions[output if node.name() in SPREADING else 0]
    return behind


def _first_activation(node: Any, output: int) -> str | None:
    """The first activation or other operation behind an output that is not merely passed through."""
    for _ in range(STEPS):
        if node is None or node.name() not in PASSING:
            return None if node is None else node.name()
        node, output = _behind(node, output)
    return None


def _saved_dim(node: Any, ndim: int) -> int:
    dim = int(node._saved_dim)
    if dim >= 2**63:  # a negative dimension, shown as an unsigned number
        dim -= 2**64
    return dim % ndim


def is_linear_output(tensor: Tensor) -> bool:
    """Whether a tensor is the bare output of a linear layer: its classes, if any, are in the last dimension."""
    node: Any = tensor.grad_fn
    if node is not None and node.name() in VIEWS and tensor.ndim > 2:
        # F.linear multiplies (rows, features) and views the rows back.
        sizes = _sizes(node)
        node = node.next_functions[0][0] if sizes is not None and sizes[-1] == tensor.shape[-1] else None
    return node is not None and node.name() in MATMULS


def is_convolution_output(tensor: Tensor) -> bool:
    """Whether a tensor is the bare output of a convolution: its classes, if any, are in dimension 1."""
    node: Any = tensor.grad_fn
    for _ in range(3):
        if node is None:
            return False
        if node.name() == "ConvolutionBackward0":
            return True
        if node.name() not in ("SqueezeBackward1", "UpsampleBilinear2DBackward0", "ToCopyBackward0"):
            return False
        node = node.next_functions[0][0]
    return False


def viewed_from(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape that a tensor had before the view or reshape that made it, or None."""
    node: Any = tensor.grad_fn
    for _ in range(4):
        if node is None:
            return None
        name = node.name()
        if name in VIEWS:
            return _sizes(node)
        if name not in ("CloneBackward0", "ToCopyBackward0"):
            return None
        node = node.next_functions[0][0]
    return None


def _viewed_of_a_convolution(view: Any) -> tuple[int, ...] | None:
    """The shape of a convolution's result that is behind a few views in a row, or None."""
    for _ in range(4):
        if view is None or view.name() not in VIEWS:
            return None
        sizes, view = _sizes(view), view.next_functions[0][0]
        if view is not None and view.name() == "ConvolutionBackward0":
            return sizes
    return None


class Folding(NamedTuple):
    """A view, on the way to the logits, that cut samples into other rows.

    Attributes:
        before: The shape before the view.
        features: The size of the last dimension after it.
    """

    before: tuple[int, ...]
    features: int


def folding(tensor: Tensor, samples: int) -> Folding | None:
    """The view that turned ``samples`` rows into the rows of the logits, before their last linear layer.

    The way back from the logits leads through linear layers and whatever else keeps rows apart.
    """
    features: int | None = None
    for node in _main_path(tensor):
        name = node.name()
        if name in VIEWS and features is not None:
            sizes = _sizes(node)
            if sizes is not None and len(sizes) > 1 and sizes[0] == samples:
                return Folding(sizes, features)
        if name in MATMULS:
            rows = _sizes(node, "_saved_mat1_sym_sizes" if name == "AddmmBackward0" else "_saved_self_sym_sizes")
            if rows is None or rows[0] != tensor.shape[0]:
                return None
            features = rows[1]
    return None


def _main_path(tensor: Tensor) -> Iterator[Any]:
    """The nodes behind a tensor, through what linear layers multiply and the first operand of the rest."""
    node: Any = tensor.grad_fn
    for _ in range(STEPS):
        if node is None:
            return
        yield node
        edges = node.next_functions
        node = edges[MATMULS.get(node.name(), 0)][0] if edges else None


def concatenated(tensor: Tensor) -> int:
    """How many tensors were concatenated along dim 0 on the way to a tensor, or 0."""
    for node in _main_path(tensor):
        if node.name() == "CatBackward0" and node._saved_dim == 0:
            return len(node.next_functions)
    return 0


def selected_from(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape that an index into dim 0, on the way to a tensor, picked one entry of; None without one."""
    for node in _main_path(tensor):
        if node.name() == "SelectBackward0" and node._saved_dim == 0:
            return _sizes(node)
    return None


def scrambled_by(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape that a view read in the wrong order, where a permutation was meant; None if none did.

    Of a convolution the classes are in dim 1, of a linear layer in the last one; a view that puts them elsewhere
    without moving them mixes them with positions.
    """
    before = viewed_from(tensor)
    if before is None or len(before) < 3 or tensor.ndim < 2:
        return None
    view: Any = tensor.grad_fn
    node = view.next_functions[0][0]
    name = "" if node is None else node.name()
    after, classes = tuple(tensor.shape), tensor.shape[1]
    if len(after) == 2:
        maps = _viewed_of_a_convolution(view)
        if maps is not None and classes:
            # One pixel per sample, as a convolution of the whole map leaves it, has nothing to mix; and whole lines of a
            # map may be rows of scores over positions.
            one = maps[1] == classes != maps[-1] and after[0] != maps[0]
            anchors = maps[1] > classes and maps[1] % classes == 0 and classes % maps[-1] != 0
            return maps if one or anchors else None
    if name in VIEWS:  # a linear layer's own
        node = node.next_functions[0][0]
        name = "" if node is None else node.name()
    exchanged = len(after) == len(before) and after != before and sorted(after) == sorted(before) and 1 not in before
    return before if name in MATMULS and exchanged and before[-1] == classes != before[1] else None


def rows_came_in(tensor: Tensor) -> bool:
    """Whether the rows of a tensor are the samples that entered the model, read as they are: images, or rows of ids."""
    rows = tensor.shape[0] if tensor.ndim else 0
    ids = embedded(tensor)
    if ids is not None and len(ids) > 1 and ids[0] == rows:
        return True
    for node in _main_path(tensor):
        sizes = _sizes(node) if node.name() in VIEWS else None
        if sizes is not None and sizes[:1] != (rows,):
            return False
        if node.name() == "ConvolutionBackward0" and node.next_functions[0][0] is None:
            return True
    return False


def embedded(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape of the ids that were embedded on the way to a tensor, if they are of one shape; else None."""
    shapes: set[tuple[int, ...]] = set()
    seen: set[Any] = set()
    left: list[Any] = [tensor.grad_fn]
    while left and len(seen) < NEARBY:
        node = left.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "EmbeddingBackward0":
            shapes.add(tuple(node._saved_indices.shape))
        left += [behind for behind, _ in node.next_functions]
    return shapes.pop() if len(shapes) == 1 else None


def _sizes(node: Any, name: str = "_saved_self_sym_sizes") -> tuple[int, ...] | None:
    sizes = getattr(node, name, None)
    return None if sizes is None else tuple(int(size) for size in sizes)
