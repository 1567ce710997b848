"""The operations of torch by name, as a trail records them, and what they do to dimensions and to values."""

from __future__ import annotations

COMPILED = "compiled region"
"""The name of what compiled code does, whatever that is."""

PARAMETER = "parameter"
"""The name of what made a parameter, or anything else that a graph starts from."""

PROPERTIES = frozenset("data H mH mT real T".split())
"""What is read off a tensor that is a tensor made from it."""

UNCHANGING = frozenset("_make_subclass pin_memory requires_grad_ retain_grad share_memory_ zero_".split())
"""What says nothing of where values come from."""

CASTS = frozenset(
    (
        "bfloat16 bool byte char clone contiguous cpu cuda detach detach_ double expand flatten float half int long "
        "reshape short squeeze to type type_as view"
    ).split()
)
"""What may return the very tensor that it was given, with nothing done to it."""

WITH_ARGUMENTS = frozenset(
    (
        "adjoint all amax amin aminmax any argmax argmin cat chunk concat concatenate dstack gather __getitem__ gru hstack "
        "index_select kthvalue logsumexp lstm max mean median min mode moveaxis movedim nanmedian nansum narrow norm "
        "permute prod repeat repeat_interleave rnn_relu rnn_tanh select split squeeze stack std std_mean sum swapaxes "
        "swapaxes_ swapdims swapdims_ take_along_dim tensor_split topk transpose transpose_ unbind unfold unsqueeze "
        "unsqueeze_ var var_mean vstack"
    ).split()
)
"""Operations whose arguments say which dimension became which."""

VIEWS = frozenset(
    "flatten ravel reshape reshape_as squeeze squeeze_ unflatten unsqueeze unsqueeze_ view view_as".split()
)
"""Operations that cut the same values anew."""

SELECTING = frozenset(
    "chunk gather __getitem__ index_select masked_select narrow select split take tensor_split unbind".split()
)
"""Operations that pick values."""

MOVING = (
    VIEWS
    | SELECTING
    | frozenset(
        (
            "adjoint __array_wrap__ as_subclass as_tensor bfloat16 bool broadcast_to byte cat char clamp clamp_ clamp_max "
            "clamp_min clip clone concat concatenate contiguous cpu cuda data detach detach_ double expand expand_as flip "
            "float H half hstack int long mH moveaxis movedim mT nan_to_num pad permute pin_memory repeat repeat_interleave "
            "roll short stack swapaxes swapdims T t to transpose transpose_ type type_as vstack"
        ).split()
    )
)
"""Operations after which values mean what they meant before."""

MIXING = frozenset(
    "add add_ div div_ exp index_put lerp log log_ masked_fill mean mul mul_ sum true_divide where".split()
)
"""Operations after which a distribution may still be one."""

ADJUSTING = frozenset(
    "add add_ batch_norm div dropout gelu layer_norm leaky_relu log_softmax mul relu relu_ sigmoid softmax sub tanh".split()
)
"""Operations that keep scores in their places."""

RECURRENT = frozenset("gru lstm rnn_relu rnn_tanh".split())
"""Recurrent layers, which take one dimension for time and one for the batch."""

CONVOLUTIONS = frozenset("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d".split())
"""Convolutions, which put the channels in dim 1."""

SCORING = CONVOLUTIONS | frozenset("addmm baddbmm bilinear bmm einsum linear matmul mm".split()) | {COMPILED}
"""Operations that make scores of features."""

SOFTMAX = frozenset("gumbel_softmax _safe_softmax _softmax softmax".split())
"""Operations that make probabilities of scores."""

CHOOSING = frozenset("argmax argmin argsort max min multinomial sort topk".split())
"""Operations that make class ids of scores."""

MAKING_ONE_HOT = frozenset("__eq__ eq eye index_fill_ one_hot scatter scatter_ __setitem__".split())
"""Operations that make one-hot rows of class ids."""

FILLING = frozenset(
    (
        "fill_ full full_like index_fill index_fill_ index_put_ masked_fill masked_fill_ masked_scatter new_full pad "
        "pad_sequence scatter scatter_ __setitem__ where"
    ).split()
)
"""Operations that put one value in many places."""

COUNTED = frozenset(
    (
        "arange expand expand_as eye full linspace new_full new_ones new_zeros ones rand randint randn randperm repeat "
        "repeat_interleave reshape view zeros"
    ).split()
)
"""Operations whose results may have as many entries as the program says, whatever the data."""
