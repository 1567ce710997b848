"""Blame: the operation, the line and the layer that made the mistake. A line that is to be blamed ends with # HERE."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

import safe_ce

LABELS = torch.tensor([3, 0, 9, 1])


def scores(rows=4, classes=10):
    return nn.Linear(6, classes)(torch.randn(rows, 6))


def marked(function):
    lines, first = inspect.getsourcelines(function)
    (offset,) = [number for number, line in enumerate(lines) if line.rstrip().endswith("# HERE")]
    return __file__, first + offset


def found_in(function):
    with safe_ce.trail():
        return safe_ce.diagnose(*function())[0]


CASES = {}


def mistake(cause, operation, **told):
    """A function whose call is a mistake: what is blamed, beside the line."""

    def add(function):
        CASES[function.__name__] = function, cause, operation, told
        return function

    return add


@mistake("softmax-applied", "softmax")
def softmax():
    return scores().softmax(1), LABELS  # HERE


@mistake("softmax-applied", "softmax")
def softmax_without_a_graph():
    with torch.no_grad():
        x = F.softmax(scores(), dim=1)  # HERE
        x = x.clamp(1e-6, 1).double()
        return x.view(2, 2, 10).flatten(0, 1)[torch.tensor([0, 1, 2, 3])], LABELS


@mistake("softmax-applied", "softmax")
def a_mean_of_softmaxes():
    rows = scores()
    members = [rows.softmax(1) for _ in range(3)]  # HERE
    return torch.stack(members).mean(0), LABELS


@mistake("log-softmax-applied", "log_softmax")
def log_softmax():
    x = F.log_softmax(scores(), dim=1)  # HERE
    return x.float().contiguous(), LABELS


@mistake("sigmoid-applied", "sigmoid")
def sigmoid():
    return torch.sigmoid(scores()), LABELS  # HERE


@mistake("relu-applied", "relu")
def relu():
    return F.relu(scores(), inplace=True), LABELS  # HERE


@mistake("class-ids-as-logits", "argmax")
def argmax():
    x = scores()
    x = x.argmax(dim=1)  # HERE
    return x.float(), LABELS


@mistake("features-folded-into-batch", "view", before=(4, 16, 10, 10), after=(16, 400))
def features_folded():
    x = nn.Conv2d(3, 16, 5)(torch.randn(4, 3, 14, 14))
    x = x.view(-1, 16 * 5 * 5)  # HERE
    return nn.Linear(400, 10)(x), LABELS


@mistake("logits-extra-dim", "unsqueeze", before=(4, 10), after=(4, 10, 1))
def logits_extra_dim():
    return scores().unsqueeze(-1) * 2, LABELS  # HERE


@mistake("logits-missing-batch-dim", "squeeze", before=(1, 16, 1, 1), after=(16,))
def logits_missing_batch_dim():
    x = F.adaptive_avg_pool2d(nn.Conv2d(3, 16, 3)(torch.randn(1, 3, 8, 8)), 1)
    x = x.squeeze()  # HERE
    return nn.Linear(16, 10)(x), LABELS[:1]


@mistake("one-hot-target", "one_hot")
def one_hot():
    y = F.one_hot(LABELS, 10)  # HERE
    return scores(), y.clone()


@mistake("one-hot-target", "eye")
def rows_of_an_identity():
    return scores(), torch.eye(10)[LABELS]  # HERE


@mistake("target-extra-dim", "unsqueeze", before=(4,), after=(4, 1))
def target_extra_dim():
    y = LABELS.clone().unsqueeze(1)  # HERE
    return scores(), y.to(torch.int64)


@mistake("target-missing-batch-dim", "__getitem__", before=(4,), after=())
def target_missing_batch_dim():
    y = LABELS.clone()[0]  # HERE
    return scores(1), y


@mistake("float-index-target", "float")
def float_target():
    y = (LABELS + 0).float()  # HERE
    return scores(), y.clone()


@mistake("float-index-target", "__getitem__")
def a_column_of_a_table():
    table = torch.cat([torch.randn(4, 6), LABELS[:, None]], 1)
    y = table[:, 6]  # HERE
    return scores(), y


@mistake("wrong-int-target", "to")
def narrow_target():
    y = LABELS.to(torch.int32)  # HERE
    return scores(), y


@mistake("labels-start-at-one", "add")
def labels_from_one():
    y = torch.arange(10)
    y = y + 1  # HERE
    return scores(10), y[torch.randperm(10)]


@mistake("labels-start-at-one", "long")
def labels_from_numpy():
    y = torch.from_numpy(np.arange(1.0, 11.0)).long()  # HERE
    return scores(10), y[torch.randperm(10)]


@mistake("label-out-of-range", "mul")
def labels_scaled():
    return scores(), LABELS.clone() * 3  # HERE


@mistake("ragged-batch", "view", before=(7, 20), after=(4, 35))
def a_constant_batch_size():
    x = torch.randn(7, 20)
    x = x.view(4, -1)  # HERE
    return nn.Linear(35, 10)(x), torch.randint(10, (7,))


@mistake("ragged-batch", "__getitem__", before=(7, 10), after=(5, 10))
def rows_dropped():
    x = scores(7)
    x = x[torch.tensor([True, True, False, True, False, True, True])]  # HERE
    return x, torch.randint(10, (7,))


@mistake("class-dim-last", "linear")
def classes_last():
    x = torch.randn(4, 7, 6)
    x = nn.Linear(6, 10)(x)  # HERE
    return x.relu() - 1, torch.randint(10, (4, 7))


@mistake("one-side-flattened", "reshape", before=(4, 7, 10), after=(28, 10))
def one_side_flattened():
    x = nn.Linear(6, 10)(torch.randn(4, 7, 6))
    x = x.reshape(-1, 10)  # HERE
    return x, torch.randint(10, (4, 7))


@mistake("time-batch-swapped", "transpose")
def time_first():
    x = nn.Embedding(9, 6)(torch.randint(9, (4, 7)))
    x = x.transpose(0, 1)  # HERE
    x, _ = nn.GRU(6, 8)(x)
    return nn.Linear(8, 10)(x), torch.randint(10, (4, 7))


@mistake("time-batch-swapped", "gru")
def batch_taken_for_time():
    x = nn.Embedding(9, 6)(torch.randint(9, (4, 7)))
    _, last = nn.GRU(6, 8)(x)  # HERE
    return nn.Linear(8, 10)(last[-1]), LABELS


@mistake("time-batch-swapped", "pad_sequence")
def padded_with_time_first():
    ids = pad_sequence([torch.tensor([1, 2, 3]), torch.tensor([4, 5])])  # HERE
    return nn.Linear(6, 10)(nn.Embedding(9, 6)(ids)), torch.randint(10, (2, 3))


@mistake("sequence-length-mismatch", "__getitem__", before=(4, 8), after=(4, 7))
def lengths_differ():
    ids = torch.randint(9, (4, 8))
    y = ids[:, 1:]  # HERE
    x = nn.Linear(6, 9)(nn.Embedding(9, 6)(ids))
    return x.view(-1, 9), y.reshape(-1)


@mistake("logits-not-pooled", "linear")
def logits_not_pooled():
    x = torch.randn(4, 7, 6)
    return nn.Linear(6, 10)(x), LABELS  # HERE


@mistake("target-not-pooled", "mean", before=(4, 7, 10), after=(4, 10))
def target_not_pooled():
    x = nn.Linear(6, 10)(torch.randn(4, 7, 6))
    x = x.mean(dim=1)  # HERE
    return x, torch.randint(10, (4, 7))


@mistake("spatial-size-mismatch", "max_pool2d", before=(2, 5, 16, 16), after=(2, 5, 8, 8))
def maps_too_small():
    x = nn.Conv2d(3, 5, 3, padding=1)(torch.randn(2, 3, 16, 16))
    x = F.max_pool2d(x, 2)  # HERE
    return nn.Conv2d(5, 5, 1)(x), torch.randint(5, (2, 16, 16))


@mistake("batch-duplicated", "cat", before=(4, 10), after=(8, 10))
def views_of_each_sample():
    x = torch.cat([scores(), scores()])  # HERE
    return x, LABELS


@mistake("view-instead-of-permute", "view")
def view_instead_of_permute():
    x = nn.Conv2d(3, 10, 3)(torch.randn(2, 3, 8, 8))
    x = x.view(2, -1, 10)  # HERE
    return x.flatten(0, 1), torch.randint(10, (72,))


@pytest.mark.parametrize("name", CASES)
def test_the_line_is_named(name):
    function, cause, operation, told = CASES[name]
    finding = found_in(function)
    assert finding.cause == cause
    blame = finding.blame
    assert (blame.filename, blame.lineno) == marked(function)
    assert (blame.operation, blame.function) == (operation, name)
    assert {key: getattr(blame, key) for key in told} == told
    assert blame.source in inspect.getsource(function)
    assert f"{blame.lineno} in {name}" in str(finding)
    assert " ".join(blame.source.split()) in " ".join(str(finding).split())
    assert finding.traceable is False


class TestNobodyIsBlamed:
    def test_without_a_trail(self):
        assert safe_ce.diagnose(*softmax())[0].blame is None

    def test_for_what_was_done_before_it(self):
        before = softmax_without_a_graph()
        assert found_in(lambda: before).blame is None

    def test_for_what_went_through_numpy(self):
        def call():
            return torch.tensor(scores().softmax(1).tolist()), LABELS

        assert found_in(call).cause == "softmax-applied"
        assert found_in(call).blame is None

    def test_for_what_comes_from_numpy(self):
        def call():
            return scores(), torch.from_numpy(np.array([3.0, 0.0, 9.0, 1.0]))

        finding = found_in(call)
        assert (finding.cause, finding.blame) == ("float-index-target", None)

    def test_for_a_softmax_further_back_than_the_scores(self):
        def call():
            attention = torch.randn(4, 6, 6).softmax(-1)
            logits = nn.Linear(6, 10)(attention @ torch.randn(4, 6, 6))
            return logits.mean(1).sigmoid(), LABELS

        assert found_in(call).blame.operation == "sigmoid"

    def test_where_either_side_may_be_the_one(self):
        def call():
            return scores(6)[:5], torch.randint(10, (9,))[:7]

        finding = found_in(call)
        assert (finding.cause, finding.blame) == ("ragged-batch", None)

    def test_for_labels_that_were_never_computed(self):
        def call():
            return scores(), torch.tensor([3, 0, 12, 1])  # the head may as well be too small

        finding = found_in(call)
        assert (finding.cause, finding.blame) == ("label-out-of-range", None)


class TestAModel:
    class Net(nn.Module):
        def __init__(self, last=nn.Softmax):
            super().__init__()
            self.body = nn.Linear(6, 8)
            self.head = nn.Sequential(
                nn.Linear(8, 10),
                last(dim=1),
            )

        def forward(self, x):
            return self.head(self.body(x))

    class Own(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.dim = dim

        def forward(self, x):
            return x.softmax(self.dim)

    def test_a_layer_is_named_by_its_path_and_the_lines_that_call_and_build_it(self):
        with safe_ce.trail():
            net = self.Net()
            finding = safe_ce.diagnose(net(torch.randn(4, 6)), LABELS)[0]
        blame, source = finding.blame, inspect.getsource(self.Net).splitlines()
        start = inspect.getsourcelines(self.Net)[1]
        assert blame.module == "head.1 (Softmax)"
        assert blame.source == "return self.head(self.body(x))" == source[blame.lineno - start].strip()
        assert blame.built[0] == __file__
        assert source[blame.built[1] - start].strip() == "last(dim=1),"
        assert f"head.1 (Softmax) from {'tests/test_blame.py'}:{blame.built[1]}" in " ".join(str(finding).split())

    def test_a_layer_of_the_program_s_own_is_mended_where_it_is_written(self):
        with safe_ce.trail():
            net = self.Net(self.Own)
            blame = safe_ce.diagnose(net(torch.randn(4, 6)), LABELS)[0].blame
        assert (blame.module, blame.source, blame.built) == ("head.1 (Own)", "return x.softmax(self.dim)", None)

    def test_a_model_that_was_built_before_has_no_line_that_built_it(self):
        net = self.Net()
        with safe_ce.trail():
            blame = safe_ce.diagnose(net(torch.randn(4, 6)), LABELS)[0].blame
        assert (blame.module, blame.built) == ("head.1 (Softmax)", None)

    def test_that_returns_no_tensor_is_blamed_where_it_is_called(self):
        class Two(nn.Module):
            def forward(self, x):
                return x.relu(), x

        two = Two()

        def call():
            return two(torch.randn(4, 10)), LABELS  # HERE

        blame = found_in(call).blame
        assert ((blame.filename, blame.lineno), blame.operation, blame.module) == (marked(call), "forward", "Two")


class TestTheLoss:
    """Where another loss is the remedy, the line that built it is named."""

    def test_is_named_where_it_was_built(self):
        def train():
            criterion = nn.CrossEntropyLoss()  # HERE
            with safe_ce.guarded("strict"):
                return criterion(torch.randn(4, 1, requires_grad=True), torch.zeros(4, 1))

        with safe_ce.trail(), pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            train()
        blame = caught.value.findings[0].blame
        assert caught.value.cause == "single-logit"
        assert ((blame.filename, blame.lineno), blame.operation) == (marked(train), "CrossEntropyLoss")

    def test_that_was_told_no_ignore_index_is_named_and_not_the_padding(self):
        def train():
            criterion = safe_ce.SafeCrossEntropyLoss()  # HERE
            target = pad_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])], batch_first=True, padding_value=-1)
            return criterion(torch.randn(2, 10, 3), target)

        with safe_ce.trail(), pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            train()
        blame = caught.value.findings[0].blame
        assert caught.value.cause == "ignore-index-mismatch"
        assert (blame.filename, blame.lineno) == marked(train)

    def test_that_was_told_another_one_is_not(self):
        def call():
            target = torch.randint(10, (4, 7))
            target = target.masked_fill(torch.arange(7) > 4, -100)  # HERE
            return torch.randn(4, 10, 7), target

        with safe_ce.trail():
            finding = safe_ce.diagnose(*call(), ignore_index=-1)[0]
        assert finding.cause == "ignore-index-mismatch"
        assert ((finding.blame.filename, finding.blame.lineno), finding.blame.operation) == (
            marked(call),
            "masked_fill",
        )

    def test_a_weight_of_another_dtype_is_named_where_it_got_that(self):
        def weight():
            counts = torch.tensor([5, 1, 4])
            return counts.double() / 10  # HERE

        with safe_ce.trail():
            finding = safe_ce.diagnose(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), weight())[0]
        assert finding.cause == "weight-wrong-dtype"
        assert (finding.blame.filename, finding.blame.lineno) == marked(weight)

    def test_swapped_arguments_are_named_where_the_loss_is_called(self):
        def distil(soft, raw):
            return safe_ce.cross_entropy(soft, raw)

        def train():
            return distil(scores().softmax(1).detach(), scores())  # HERE

        with safe_ce.trail(), pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            train()
        assert caught.value.cause == "arguments-swapped"
        blame = caught.value.findings[0].blame
        assert (blame.function, blame.called) == ("distil", marked(train))


class TestEarlierCalls:
    """Where two sides may be at fault, the one that did not follow when the batch changed is."""

    def test_tell_which_side_stays_as_it_was(self):
        def call(criterion, rows):
            target = torch.arange(10).repeat(4)  # HERE
            x = torch.cat([scores(rows // 2), scores(rows // 2)])
            return criterion(x, target)

        criterion = safe_ce.SafeCrossEntropyLoss()
        with safe_ce.trail():
            call(criterion, 40)
            with pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
                call(criterion, 26)
        blame = caught.value.findings[0].blame
        assert ((blame.filename, blame.lineno), blame.operation) == (marked(call), "repeat")


class TestADataLoader:
    """What torch's loader does with samples is laid at the dataset that gave them."""

    class Columns(Dataset):
        def __init__(self, labels):
            self.labels = labels

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return torch.randn(6), self.labels[index]  # HERE

    @pytest.mark.parametrize(
        ("labels", "cause"),
        [
            (np.array([[3], [0], [9], [1]]), "target-extra-dim"),
            (np.array([3.0, 0.0, 9.0, 1.0]), "float-index-target"),
            (np.array([3, 0, 9, 1], dtype=np.int32), "wrong-int-target"),
            (list(range(1, 11)), "labels-start-at-one"),
        ],
    )
    def test_of_the_program(self, labels, cause):
        def call():
            x, y = next(iter(DataLoader(self.Columns(labels), batch_size=len(labels))))
            return nn.Linear(6, 10)(x), y

        finding = found_in(call)
        assert finding.cause == cause
        assert (finding.blame.filename, finding.blame.lineno) == marked(self.Columns)

    def test_of_torch_s_own_leads_to_the_tensors_in_it(self):
        def call():
            labels = torch.arange(1, 11)  # HERE
            x, y = next(iter(DataLoader(TensorDataset(torch.randn(10, 6), labels), batch_size=10)))
            return nn.Linear(6, 10)(x), y

        finding = found_in(call)
        assert finding.cause == "labels-start-at-one"
        assert ((finding.blame.filename, finding.blame.lineno), finding.blame.operation) == (marked(call), "arange")

    def test_with_workers_begins_where_its_batches_arrive(self):
        def call():
            x, y = next(iter(DataLoader(self.Columns(np.array([[3], [0]])), batch_size=2, num_workers=1)))
            return nn.Linear(6, 10)(x), y

        finding = found_in(call)
        assert (finding.cause, finding.blame) == ("target-extra-dim", None)


def test_the_way_of_a_shape_is_shown_from_where_it_was_last_right():
    def call():
        x = nn.Conv2d(3, 16, 5)(torch.randn(4, 3, 14, 14))
        x = x.view(-1, 16 * 5 * 5)  # HERE
        for _ in range(9):
            x = x.relu()
        return nn.Linear(400, 10)(x), LABELS

    steps = found_in(call).blame.steps
    assert [(step.operation, step.shape) for step in steps] == [
        ("conv2d", (4, 16, 10, 10)),
        ("view", (16, 400)),
        ("relu", (16, 400)),
        ("relu", (16, 400)),
        ("relu", (16, 400)),
        ("linear", (16, 10)),
    ]
    assert (steps[1].filename, steps[1].lineno) == marked(call)


def test_a_function_is_named_with_the_line_that_called_it():
    def flatten(x):
        return x.view(-1, 400)

    def call():
        x = flatten(torch.randn(4, 16, 10, 10))  # HERE
        return nn.Linear(400, 10)(x), LABELS

    blame = found_in(call).blame
    assert (blame.function, blame.called) == ("flatten", marked(call))
