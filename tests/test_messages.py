"""What the error messages of native, of every release, are read as."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from safe_ce.causes import BY_NAME
from safe_ce.messages import MOST, explained
from safe_ce.messages.rules import RULES
from safe_ce.messages.tells import TELLS
from tests.test_cases import FAILURES, built, read


def causes_of(log):
    explanation = explained(log)
    return None if explanation is None else [finding.cause for finding in explanation.findings]


ROWS = "Expected input batch_size ({}) to match target batch_size ({})."
SIZES = "Expected target size {}, got {}"
MASKS = "only batches of spatial targets supported (3D tensors) but got targets of "
CLASSES = "weight tensor should be defined either for all 10 classes or no classes but got weight tensor of shape: [3]"
TENSOR = "(): argument '{}' (position 1) must be Tensor, not {}"
OBJECT = "Expected object of {} but {} {} for argument #2 '{}' in call to _thnn_nll_loss_forward"
FROZEN = "The function 'nll_loss_forward' is not differentiable with respect to argument 'weight'."
FLOAT_TARGET = "Expected floating point type for target with class probabilities"
ONE_DEVICE = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


@pytest.mark.parametrize(
    ("message", "first"),
    [
        # Numbers of rows.
        (ROWS.format(324, 4), "features-folded-into-batch"),
        (ROWS.format(64, 32), "features-folded-into-batch"),
        (ROWS.format(32, 17), "ragged-batch"),
        (ROWS.format(80, 88), "sequence-length-mismatch"),
        (ROWS.format(4, 0), "target-missing-batch-dim"),
        (ROWS.format(1, 256), "target-missing-batch-dim"),
        (ROWS.format(32, 512), "one-side-flattened"),
        (ROWS.format(0, 4), "ragged-batch"),
        ("Assertion `input.size(0) == target.size(0)' failed.", "ragged-batch"),
        ("Assertion `THIndexTensor_(size)(target, 0) == batch_size' failed.", "ragged-batch"),
        # Sizes and dimensions.
        (SIZES.format("(2, 5)", "torch.Size([2, 3])"), "class-dim-last"),
        (SIZES.format("[32, 949]", "[32, 51]"), "class-dim-last"),
        (SIZES.format("[4, 9]", "[4, 9, 1]"), "target-extra-dim"),
        (SIZES.format("[4, 9]", "[4]"), "logits-not-pooled"),
        ("0D or 1D target tensor expected, multi-target not supported", "target-extra-dim"),
        ("0D or 1D target tensor expected, multi-target not supported, got 2D", "target-extra-dim"),
        ("1D target tensor expected, multi-target not supported", "target-extra-dim"),
        ("multi-target not supported at /pytorch/aten/src/THNN/generic/ClassNLLCriterion.c:22", "target-extra-dim"),
        (MASKS + "dimension: 4", "target-extra-dim"),
        ("invalid argument 3: " + MASKS + "dimension: 1 at /tmp/THNN/SpatialClassNLLCriterion.c", "logits-not-pooled"),
        ("1" + MASKS + "dimension: 4", "target-extra-dim"),
        (MASKS + "size: : [8, 1, 224, 224]", "target-extra-dim"),
        ("1" + MASKS + "size: : [2, 512, 512, 3]", "color-mask-target"),
        ("1" + MASKS.replace("(3D", "(non-empty 3D") + "size: : [20]", "logits-not-pooled"),
        ("size mismatch (got input: [2, 2, 68, 68] , target: [2, 256, 256]", "spatial-size-mismatch"),
        ("size mismatch (got input: [80], target: [1])", "logits-missing-batch-dim"),
        ("size mismatch (got input: [4], target: [4, 10])", "arguments-swapped"),
        (
            "input and target batch or spatial sizes don't match: target [2, 256, 256], input [2, 2, 68, 68]",
            "spatial-size-mismatch",
        ),
        ("For 1D input, 1D target must have size 1, but got target size: 16", "logits-missing-batch-dim"),
        ("Expected 2 or more dimensions (got 1)", "logits-missing-batch-dim"),
        ("Dimension out of range (expected to be in range of [-1, 0], but got 1)", "logits-missing-batch-dim"),
        ("dimension specified as 0 but tensor has no dimensions", "target-missing-batch-dim"),
        # Labels.
        ("Target 10 is out of bounds.", "labels-start-at-one"),
        ("Target -100 is out of bounds.", "ignore-index-mismatch"),
        ("Target -1 is out of bounds.", "ignore-index-mismatch"),
        ("Target 255 is out of bounds.", "mask-not-class-ids"),
        ("Target 2204 is out of bounds.", "label-out-of-range"),
        ("Target 1 is out of bounds.", "single-logit"),
        ("Assertion `cur_target >= 0 && cur_target < n_classes' failed.", "labels-start-at-one"),
        ("ClassNLLCriterion.cu:105: Assertion `t >= 0 && t < n_classes` failed.", "labels-start-at-one"),
        ("CUDA error: device-side assert triggered", "labels-start-at-one"),
        ("cuda runtime error (59) : device-side assert triggered at THCStorage.c:184", "labels-start-at-one"),
        ("index out of bounds: 0 <= tmp7 < 10L", "labels-start-at-one"),
        # Dtypes.
        ("expected target dtype to be Long or Byte, but got Float", "float-index-target"),
        ("expected scalar type Long but found Float", "float-index-target"),
        ("expected scalar type Long but found Int", "wrong-int-target"),
        (OBJECT.format("scalar type Long", "got scalar type", "Float", "target"), "float-index-target"),
        (OBJECT.format("scalar type Long", "got scalar type", "Int", "target"), "wrong-int-target"),
        (OBJECT.format("type torch.LongTensor", "found type", "torch.FloatTensor", "target"), "float-index-target"),
        (OBJECT.format("scalar type Float", "got scalar type", "Half", "weight"), "weight-wrong-dtype"),
        ("expected scalar type Float but found Double", "weight-wrong-dtype"),
        (FLOAT_TARGET + ", got Long", "one-hot-target"),
        (FLOAT_TARGET, "one-hot-target"),
        ("\"log_softmax_lastdim_kernel_impl\" not implemented for 'Long'", "logits-wrong-dtype"),
        ("\"softmax_kernel_impl\" not implemented for 'Long'", "logits-wrong-dtype"),
        ("\"nll_loss_forward_reduce_cuda_kernel_2d_index\" not implemented for 'Int'", "wrong-int-target"),
        # What is no tensor, or nothing that the loss is computed for.
        ("cross_entropy_loss" + TENSOR.format("input", "tuple"), "output-not-tensor"),
        ("log_softmax" + TENSOR.format("input", "collections.OrderedDict"), "output-not-tensor"),
        ("AttributeError: 'tuple' object has no attribute 'log_softmax'", "output-not-tensor"),
        ("cross_entropy_loss" + TENSOR.format("target", "numpy.ndarray"), "target-not-tensor"),
        ("cross_entropy_loss" + TENSOR.format("weight", "list"), "weight-not-tensor"),
        ("cannot assign 'list' object to buffer 'weight' (torch Tensor or None required)", "weight-not-tensor"),
        ("Could not run 'aten::_log_softmax' with arguments from the 'SparseCPU' backend.", "unsupported-layout"),
        (
            "log_softmax(): not supported when reducing along the ragged dimension for NestedTensor",
            "unsupported-layout",
        ),
        ("bool value of Tensor with more than one value is ambiguous", "loss-class-called-as-function"),
        ("Boolean value of Tensor with more than one value is ambiguous", "loss-class-called-as-function"),
        # The set-up.
        (CLASSES, "weight-length-mismatch"),
        ("cross_entropy: " + CLASSES, "weight-length-mismatch"),
        ("weight tensor should be defined either for all or no classes", "weight-length-mismatch"),
        ("weight tensor should be defined either for all 19 or no classes at /tmp/x.cu:27", "weight-length-mismatch"),
        (ONE_DEVICE, "device-mismatch"),
        (
            ONE_DEVICE + " (when checking argument for argument target in method wrapper_nll_loss_forward)",
            "device-mismatch",
        ),
        ("Tensor on device cpu is not on the expected device meta!", "device-mismatch"),
        (OBJECT.format("backend CPU", "got backend", "CUDA", "target"), "device-mismatch"),
        (OBJECT.format("type torch.cuda.LongTensor", "found type", "torch.LongTensor", "target"), "device-mismatch"),
        (FROZEN + " This input cannot have requires_grad True.", "weight-requires-grad"),
        ("the derivative for 'target' is not implemented", "arguments-swapped"),
        ("ignore_index is not supported for floating point target", "invalid-option"),
        ("label_smoothing must be between 0.0 and 1.0. Got: 1.1", "invalid-option"),
        ("ValueError: avg is not a valid value for reduction", "invalid-option"),
        (
            "cross_entropy_loss(): argument 'ignore_index' (position 5) must be int, not NoneType",
            "invalid-option",
        ),
        ("element 0 of tensors does not require grad and does not have a grad_fn", "class-ids-as-logits"),
    ],
)
def test_a_message_is_read_as(message, first):
    assert causes_of(message)[0] == first


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (ROWS.format(324, 4), "324 = 4 * 81, 81 rows for every target, as of a 9 x 9 map"),
        (ROWS.format(32, 17), "the counts have no factor in common"),
        (ROWS.format(80, 88), "both are multiples of 8, 80 = 8 * 10 and 88 = 8 * 11"),
        (ROWS.format(8, 1024), "1024 = 8 * 128, 128 labels for every row"),
        (ROWS.format(15, 1), "15 rows of logits against 1 target: "),
        (SIZES.format("[2, 5]", "[2, 3]"), "N = 2 and d1, ... = 5, so the target must be (2, 5), and it is (2, 3)"),
        ("Target 10 is out of bounds.", "at most 10 classes"),
        (CLASSES, "there are 10 classes, and the weight has shape (3,)"),
        ("grad can be implicitly created only for scalar outputs", 'reduction="none"'),
        ("\"log_softmax_lastdim_kernel_impl\" not implemented for 'Half'", "use .float()"),
    ],
)
def test_its_meaning_has_the_message_s_numbers(message, says):
    assert says in explained(message).meaning


def test_sizes_that_a_message_does_not_tell_are_letters():
    first, *_, _flattened = explained(ROWS.format(97 * 6, 97)).findings
    assert first.evidence[0] == f"input ({97 * 6}, C), target (97,)"
    assert first.fix is None
    swapped = explained(ROWS.format(32, 17)).findings[1]
    assert swapped.evidence[0] == "input (32, 17, C), target (17, 32)"


def test_one_cause_at_most_is_likely_and_none_certain():
    for message in (ROWS.format(64, 16), "Target 10 is out of bounds.", MASKS + "dimension: 4"):
        first, *others = (finding.confidence for finding in explained(message).findings)
        assert first == "likely"
        assert set(others) == {"possible"}
        assert len(others) < MOST


TRACEBACK = """
Epoch 3: 100%|##########| 12/12 [00:03<00:00]
[rank0]: Traceback (most recent call last):
[rank0]:   File "/home/me/train.py", line 41, in <module>
[rank0]:     loss = {}(out, y)
[rank0]:   File "/opt/lib/python3.11/site-packages/torch/nn/{}.py", line 3029, in {}
\x1b[31m[rank0]: RuntimeError: {}\x1b[0m
srun: error: node7: task 0: Exited with code 1
"""


@pytest.mark.parametrize(
    ("message", "first"),
    [
        (ROWS.format(324, 4), "features-folded-into-batch"),
        ("Dimension out of range (expected to be in range of [-1, 0], but got 1)", "logits-missing-batch-dim"),
        (ONE_DEVICE, "device-mismatch"),
    ],
)
def test_noise_around_a_message_does_not_matter(message, first):
    log = TRACEBACK.format("criterion", "functional", "cross_entropy", message)
    explanation = explained("x" * 2**21 + log)
    assert explanation.findings[0].cause == first
    assert explanation.message == f"RuntimeError: {message}"
    assert explanation.note is None


def test_of_several_messages_the_last_of_the_loss_s_own_is_read():
    log = f"{ROWS.format(324, 4)}\n{ONE_DEVICE}\nTarget 255 is out of bounds.\n{ONE_DEVICE}"
    assert explained(log).message == "Target 255 is out of bounds."
    log = "Assertion `t >= 0 && t < n_classes` failed.\n" * 40 + "CUDA error: device-side assert triggered"
    assert explained(log).message.startswith("Assertion `t >= 0")


@pytest.mark.parametrize(
    "message",
    [
        "Dimension out of range (expected to be in range of [-1, 0], but got 1)",
        "Boolean value of Tensor with more than one value is ambiguous",
        "grad can be implicitly created only for scalar outputs",
        "expected scalar type Float but found Double",
        ONE_DEVICE,
    ],
)
def test_what_other_operations_raise_as_well_is_read_with_a_note_and_not_where_they_did(message):
    assert "ends in cross_entropy" in explained(message).note
    assert explained(TRACEBACK.format("model", "modules/linear", "forward", message)) is None


def test_an_error_that_a_device_raises_late_is_read_wherever_it_was_raised():
    message = "CUDA error: device-side assert triggered"
    assert "CUDA_LAUNCH_BLOCKING=1" in explained(TRACEBACK.format("step", "optim", "item", message)).note
    assert explained(f"Indexing.cu:1290: Assertion `srcIndex < srcSelectDimSize` failed.\n{message}") is None


@pytest.mark.parametrize(
    "log",
    [
        "",
        "\x00\x1b[",
        "hello",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x5 and 6x7)",
        "RuntimeError: The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
        "RuntimeError: size mismatch, m1: [4 x 5], m2: [6 x 7] at /pytorch/aten/src/TH/generic/THTensorMath.cpp:41",
        ONE_DEVICE + " (when checking argument for argument mat1 in method wrapper_CUDA_addmm)",
        "\"softmax_lastdim_kernel_impl\" not implemented for 'Half'",
        "\"addmm_impl_cpu_\" not implemented for 'Half'",
        "ValueError: Target size (torch.Size([4])) must be the same as input size (torch.Size([4, 1]))",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "IndexError: index out of range in self",
        "AttributeError: 'tuple' object has no attribute 'size'",
        "loss = nn.CrossEntropyLoss()(output, target)",
        "    raise ValueError(f'Expected input batch_size ({n}) to match target batch_size ({m}).')",
    ],
)
def test_what_is_not_about_the_loss_is_not_explained(log):
    assert explained(log) is None


@pytest.mark.parametrize("number", ["0", "1", "9" * 18, "9" * 40])
def test_any_number_is_read(number):
    explained(ROWS.format(number, number[:3]))
    explained(ROWS.format(number[:3], number))
    explained(f"Target {number} is out of bounds.")
    explained(SIZES.format(f"[{number}, 2]", "[]"))
    explained(MASKS + f"size: : [{number}]")


TRACED = (
    "torch._dynamo.exc.TorchRuntimeError: RuntimeError when making fake tensor call\n  Explanation: Dynamo failed to run"
    " FX node with fake tensors: call_function <function cross_entropy at 0x7f9819f33100>(*(FakeTensor(..., size=(4, 10),"
    " requires_grad=True), FakeTensor(..., device='cuda:0', size=(4, 1), dtype=torch.int64)), **{'ignore_index': -100}):"
    " got AssertionError('0D or 1D target tensor expected, multi-target not supported, got 2D')"
)


def test_the_shapes_that_a_compiler_tells_are_taken():
    first = explained(TRACED).findings[0]
    assert first.cause == "target-extra-dim"
    assert first.evidence[0] == "input (4, 10), target (4, 1)"
    assert first.fix == "target = target.squeeze(1)"


def test_what_this_torch_s_compiler_says_is_read():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(nn.CrossEntropyLoss(), backend="eager")
        with pytest.raises((RuntimeError, ValueError)) as caught:
            compiled(torch.randn(324, 10), torch.zeros(4, dtype=torch.int64))
    assert causes_of(f"{caught.type.__name__}: {caught.value}")[0] == "features-folded-into-batch"


def recorded():
    """Every recorded mistake that native refuses, with what the native that is installed says of it."""
    for name in FAILURES:
        for case in read(name):
            logits, target, options = built(case)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    nn.CrossEntropyLoss(**options)(logits, target)
            except Exception as error:
                yield case, f"{type(error).__name__}: {error}"


def test_the_causes_of_recorded_mistakes_are_among_those_that_their_messages_list():
    cases = [(case, causes_of(message)) for case, message in recorded()]
    assert len(cases) > 300
    unread = [case["id"] for case, causes in cases if causes is None]
    assert unread == []
    listed = sum(case["cause"] in causes for case, causes in cases)
    first = sum(bool({case["cause"], *case["also_acceptable"]} & set(causes[:1])) for case, causes in cases)
    assert listed >= 0.94 * len(cases)
    assert first >= 0.72 * len(cases)


def test_what_threads_quote_of_older_releases_is_read():
    quoted = [case for name in FAILURES for case in read(name) if "Error: " in case.get("native_then", "")]
    read_as = [(case, causes_of(case["native_then"])) for case in quoted]
    assert [case["id"] for case, causes in read_as if causes is None] == []
    assert sum(case["cause"] in (causes or ()) for case, causes in read_as) >= 0.85 * len(quoted)


def test_every_rule_s_causes_can_be_told_apart():
    assert set(TELLS) <= set(BY_NAME)
    assert all(len(tell) <= 120 for tell in TELLS.values())
    assert len({rule.pattern for rule in RULES}) == len(RULES)


def test_importing_the_library_does_not_import_what_reads_messages():
    code = "import json, sys, safe_ce; print(json.dumps([name for name in sys.modules if name.startswith('safe_ce')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"safe_ce.messages", "safe_ce.messages.rules", "safe_ce.messages.tells", "safe_ce.commands"} & set(
        json.loads(done.stdout)
    )
