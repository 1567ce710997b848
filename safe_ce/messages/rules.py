"""Native's messages of every release, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safe_ce.messages.readings import (
    Reading,
    both_sizes,
    dtype,
    label,
    logits_dtype,
    named,
    rows,
    says,
    shape_of,
    spatial_target,
    target_size,
    two_dimensional_target,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Callable


class Rule(NamedTuple):
    """A message.

    Attributes:
        pattern: Native's words.
        read: What they mean.
        shared: Whether other operations than the loss raise it too.
        late: Whether it is raised wherever the program next waits for the device, so that a traceback says nothing.
    """

    pattern: str
    read: Callable[[re.Match[str]], Reading]
    shared: bool = False
    late: bool = False


COUNT = r"(\d{1,18})"
SIZE = r"(?:torch\.Size\()?[\[(]([\d, ]*)[\])]\)?"
FLOAT = "(Float|Double|Half|BFloat16)"
OUT_OF_RANGE = ("labels-start-at-one", "label-out-of-range", "ignore-index-mismatch", "mask-not-class-ids")
NO_BATCH = ("logits-missing-batch-dim", "binary-logits", "class-ids-as-logits")

RULES = (
    # Shapes.
    Rule(r"Expected input batch_size \((\d{1,18})\) to match target batch_size \((\d{1,18})\)\.?", rows),
    Rule(
        r"Assertion [`'\"]?(?:input\.size\(0\) == target\.size\(0\)|THIndexTensor_\(size\)\(target, 0\) == batch_size)\S*",
        says(
            "the logits and the target have different numbers of rows",
            "ragged-batch",
            "features-folded-into-batch",
            "one-side-flattened",
            "sequence-length-mismatch",
        ),
    ),
    Rule(rf"Expected target size {SIZE}, got {SIZE}", target_size),
    Rule(
        rf"1?only batches of spatial targets supported \((?:non-empty )?3D tensors\) but got targets of"
        rf" (?:dimension: {COUNT}|size: :? ?{SIZE})",
        spatial_target,
    ),
    Rule(
        r"(?:0D or 1D target tensor expected, |1D target tensor expected, )?multi-target not supported",
        two_dimensional_target,
    ),
    Rule(r"size mismatch \(got input: \[(?P<input>[\d, ]*)\] ?, target: \[(?P<target>[\d, ]*)\]\)?", both_sizes),
    Rule(
        r"input and target batch or spatial sizes don't match: target \[(?P<target>[\d, x]*)\],"
        r" input \[(?P<input>[\d, x]*)\]",
        both_sizes,
    ),
    Rule(
        r"For 1D input, 1D target must have size 1, but got target size: (\d{1,18})",
        says("the logits have one dimension, the scores of one sample, and there are {0} labels", *NO_BATCH[:2]),
    ),
    Rule(
        r"Expected 2 or more dimensions \(got (\d)\)",
        says("the logits need a batch and a class dimension, and have {0}", *NO_BATCH),
    ),
    Rule(
        r"[Dd]imension out of range \(expected to be in range of \[-1, 0\], but got 1\)",
        says("the logits have no dim 1, where the classes belong", *NO_BATCH),
        shared=True,
    ),
    Rule(
        r"[Dd]imension specified as [01] but tensor has no dimensions",
        says(
            "the logits or the target are a single number, without dimensions",
            "target-missing-batch-dim",
            "empty-batch",
        ),
        shared=True,
    ),
    # Labels.
    Rule(r"Target (-?\d{1,18}) is out of bounds\.?", label),
    Rule(
        r"Assertion [`'\"]?(?:cur_target|t) >= 0 && (?:cur_target|t) < n_classes\S*",
        says("a label is below 0, or not below the number of classes", *OUT_OF_RANGE, "wrong-class-count"),
    ),
    Rule(
        r"index out of bounds: 0 <= \S+ < (\d{1,18})",
        says("an index, a label say, is not in range({0})", *OUT_OF_RANGE, "wrong-class-count"),
        shared=True,
    ),
    Rule(
        r"(?:CUDA|cuda runtime|HIP) error[^!]{0,20}device-side assert triggered",
        says("an index on the device, most often a label, was out of range", *OUT_OF_RANGE, "wrong-class-count"),
        shared=True,
        late=True,
    ),
    # Dtypes.
    Rule(r"[Ee]xpected scalar type Long but found (\w+)", dtype, shared=True),
    Rule(r"expected target dtype to be Long or Byte, but got (\w+)", dtype),
    Rule(
        r"Expected object of (?:scalar )?type \S*?Long(?:Tensor\]?)? but (?:got|found) (?:scalar )?type"
        r" \S*?(Float|Double|Half|BFloat16|Int|Short|Char|Byte|Bool)(?:Tensor\]?)? for argument #\d+ '?target'?",
        dtype,
    ),
    Rule(
        r"[Ee]xpected floating point type for target with class probabilities(?:, got (\w+))?",
        says(
            "the target has the logits' own shape, so it holds class probabilities, and it is {0}, no float",
            "one-hot-target",
            "class-ids-as-logits",
            "multi-hot-target",
            "binary-logits",
            "logits-missing-batch-dim",
        ),
    ),
    Rule(
        rf"expected scalar type {FLOAT} but found (\w+)",
        says("the class weights must have the logits' dtype, {0}, and one of the tensors is {1}", "weight-wrong-dtype"),
        shared=True,
    ),
    Rule(
        rf"Expected object of (?:scalar )?type \S*?{FLOAT}(?:Tensor\]?)? but (?:got|found) (?:scalar )?type"
        r" \S*?([A-Z]\w+?)(?:Tensor\]?)? for argument #\d+ '?weights?'?",
        says(
            "the class weights must be {0}, as the logits, and are {1}", "weight-wrong-dtype", "weight-length-mismatch"
        ),
    ),
    # On a device, what the kernel that is named for its index does not take is the target.
    Rule(r"\"nll_loss\w*_index\" not implemented for '(\w+)'", dtype),
    Rule(r"\"(?:log_softmax|nll_loss)\w*(?<!_index)\" not implemented for '(\w+)'", logits_dtype),
    Rule(r"\"softmax_kernel_impl\" not implemented for '(\w+)'", logits_dtype, shared=True),
    # What is no tensor, or of the wrong kind.
    Rule(
        r"(?:cross_entropy(?:_loss)?|nll_loss\w*|log_softmax)\(\): argument 'input' \(position \d+\) must be Tensor, not ([\w.]+)",
        says("the logits are of type {0}, and must be a tensor", "output-not-tensor"),
    ),
    Rule(
        r"'([\w.]+)' object has no attribute 'log_softmax'",
        says("the logits are of type {0}, and must be a tensor", "output-not-tensor"),
    ),
    Rule(
        r"(?:cross_entropy(?:_loss)?|nll_loss\w*)\(\): argument 'target' \(position \d+\) must be Tensor, not ([\w.]+)",
        says("the target is of type {0}, and must be a tensor", "target-not-tensor"),
    ),
    Rule(
        r"(?:cross_entropy(?:_loss)?|nll_loss\w*)\(\): argument 'weight' \(position \d+\) must be Tensor, not ([\w.]+)",
        says("the class weights are of type {0}, and must be a tensor", "weight-not-tensor"),
    ),
    Rule(
        r"cannot assign '([\w.]+)' object to buffer 'weight' \(torch(?:\.| )Tensor or None required\)",
        says("the class weights are of type {0}, and must be a tensor", "weight-not-tensor"),
    ),
    Rule(
        r"Could not run 'aten::(?:_log_softmax|nll_loss\w*)\S*' with arguments from the '(\w+)' backend",
        says("the loss is not computed for tensors of the kind {0}", "unsupported-layout"),
    ),
    Rule(
        r"log_softmax\(\): not supported when reducing along the ragged dimension for NestedTensor"
        r"|NotImplementedError: aten\._log_softmax\.default",
        says("the logits are a nested tensor, which the loss is not computed for", "unsupported-layout"),
    ),
    Rule(
        r"[Bb]ool(?:ean)? value of Tensor with more than one (?:value|element) is ambiguous",
        says(
            "a tensor was taken for a yes or no, as size_average is in the loss's constructor",
            "loss-class-called-as-function",
        ),
        shared=True,
    ),
    # The set-up.
    Rule(
        rf"weight tensor should be defined either for all (?:{COUNT} )?(?:classes )?or no classes(?: but got weight tensor of shape: {SIZE})?",
        lambda match: Reading(
            f"there are {match[1]} classes, and the weight has shape {shape_of(match[2])}"
            if match[1] and match[2]
            else "there are not as many class weights as classes",
            named("weight-length-mismatch", "wrong-class-count"),
        ),
    ),
    Rule(
        r"Expected all tensors to be on the same device, but (?:found at least two devices, ([\w:]+) and ([\w:]+)|got \w+ is on ([\w:]+))!?",
        says("the tensors are on different devices", "device-mismatch"),
        shared=True,
    ),
    Rule(
        r"Tensor on device ([\w:]+) is not on the expected device ([\w:]+)!",
        says("a tensor is on {0}, and the others are on {1}", "device-mismatch"),
        shared=True,
    ),
    Rule(
        r"Expected object of (?:backend|device type) (\w+) but got (?:backend|device type) (\w+) for argument #\d+ '?(?:target|weights?)'?",
        says("the target or the weight is on {1}, and the logits are on {0}", "device-mismatch"),
    ),
    Rule(
        r"Expected object of type (torch\.cuda\.\w+) but found type (torch\.\w+) for argument #\d+ '?(?:target|weights?)'?",
        says("the target or the weight is a {1}, and must be a {0}", "device-mismatch"),
    ),
    Rule(
        r"[Tt]he function 'nll_loss\w*' is not differentiable with respect to argument 'weight'",
        says("the class weights require a gradient", "weight-requires-grad", "loss-class-called-as-function"),
    ),
    Rule(
        r"the derivative for 'target' is not implemented",
        says("the target requires a gradient, as an output of a model does", "arguments-swapped"),
    ),
    Rule(
        r"ignore_index is not supported for floating point target",
        says(
            "the target has the logits' own shape, so it holds class probabilities, and no id can be ignored",
            "invalid-option",
        ),
    ),
    Rule(
        r"label_smoothing must be between 0\.0 and 1\.0(?:\. Got: (\S+))?",
        says("label_smoothing is out of its range, from 0 to 1", "invalid-option"),
    ),
    Rule(
        r"(\S{1,40}) is not a valid value for reduction",
        says("reduction is {0}, and must be none, mean or sum", "invalid-option"),
    ),
    Rule(
        r"cross_entropy_loss\(\): argument '(ignore_index|label_smoothing|reduction)' \(position \d+\) must be (\w+), not ([\w.]+)",
        says("{0} is of type {2}, and must be {1}", "invalid-option"),
    ),
    # The backward pass.
    Rule(
        r"grad can be (?:implicitly )?created only for scalar outputs",
        says('the loss is no single number, as reduction="none" makes it: take its mean before backward()'),
        shared=True,
    ),
    Rule(
        r"element 0 of (?:tensors|variables) does not require grad and does not have a grad_fn",
        says("the loss has no graph: nothing that it was computed from leads to a parameter", "class-ids-as-logits"),
        shared=True,
    ),
)
