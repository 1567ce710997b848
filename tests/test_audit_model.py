"""safe_ce.audit with a model: the loss's own guard judges what comes out, and the model is left as it was."""

from __future__ import annotations

import copy
import warnings
from threading import Lock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from safe_ce import audit

X = torch.randn(70, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(70) % 10
LOADER = DataLoader(TensorDataset(X, Y), batch_size=16)  # the last batch has 6 samples


def convolutional(*last, outputs=10):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, outputs), *last
    )


class Squeezing(nn.Module):
    """Its output for a single sample has no batch dimension."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 10)

    def forward(self, x):
        return self.layer(x.flatten(1)).squeeze()


class FixedBatch(nn.Module):
    """It was written for batches of 16."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 10)
        self.state = nn.Parameter(torch.zeros(16, 10))

    def forward(self, x):
        return self.layer(x.flatten(1).sum(0, keepdim=True)) + self.state


class Tagger(nn.Module):
    """Scores of tokens, the classes last, as they are flattened before the loss."""

    def __init__(self, classes=5):
        super().__init__()
        self.layer = nn.Embedding(50, classes)

    def forward(self, input_ids):
        return self.layer(input_ids)


class OwnLoss(nn.Module):
    """As Hugging Face's models: given labels, it shifts them and computes the loss."""

    def __init__(self, classes=50):
        super().__init__()
        self.layer = nn.Embedding(50, classes)

    def forward(self, input_ids, labels=None):
        logits = self.layer(input_ids)
        loss = None if labels is None else F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


TOKENS = torch.arange(240).view(20, 12) % 50
TEXT = [{"input_ids": TOKENS, "labels": TOKENS, "idx": torch.arange(20)}]


@pytest.mark.parametrize(
    ("loader", "model"),
    [
        (LOADER, convolutional()),
        (LOADER, lambda images: convolutional()(images * 2)),
        (LOADER, Squeezing()),
        ([(TOKENS, TOKENS % 5)], Tagger()),
        ([((X[:8], X[:8]), Y[:8])], lambda pair: convolutional()(pair[0] - pair[1])),
        ([(X[:8], X[:8], Y[:8])], lambda left, right: convolutional()(left - right)),
        ([{"image": X[:8], "label": Y[:8]}], convolutional()),
        ([(X[:8].double(), Y[:8])], convolutional().double()),
        ([(X[:8], Y[:8])], lambda images: convolutional().double()(images.double())),
        (TEXT, OwnLoss()),
        ([{**TEXT[0], "labels": TOKENS % 5}], Tagger()),
    ],
)
def test_a_sound_pair_of_loader_and_model_has_no_finding(loader, model):
    options = {"target": 2} if isinstance(loader, list) and len(loader[0]) == 3 and isinstance(loader[0], tuple) else {}
    found = audit(loader, model=model, **options)
    assert found.findings == ()
    assert not any("model" in note for note in found.notes)
    assert found.num_classes in (5, 10, 50)


@pytest.mark.parametrize(
    ("model", "cause", "batch"),
    [
        (convolutional(nn.Softmax(1)), "softmax-applied", 0),
        (convolutional(nn.Unflatten(1, (10, 1, 1))), "logits-extra-dim", 0),
        (convolutional(outputs=1), "single-logit", 0),
        (FixedBatch(), "ragged-batch", 4),
        (lambda x: x.new_full((len(x), 10), torch.nan), "logits-not-finite", 0),
        (lambda x: x.new_zeros(len(x), 10).argmax(1), "class-ids-as-logits", 0),
        (lambda x: x.new_full((len(x),), 0.3), "binary-logits", 0),
    ],
)
def test_the_guard_judges_what_comes_out(model, cause, batch):
    (finding,) = audit(LOADER, model=model).findings
    assert (finding.cause, finding.samples[0].batch) == (cause, batch)


def test_a_last_batch_of_one_sample_goes_through_too():
    loader = DataLoader(TensorDataset(X[:65], Y[:65]), batch_size=16)
    (finding,) = audit(loader, model=Squeezing()).findings
    assert (finding.cause, finding.samples[0].batch) == ("logits-missing-batch-dim", 4)


def test_the_number_of_classes_is_read_off_the_output():
    found = audit(LOADER, model=convolutional(outputs=8))
    assert found.num_classes == 8
    assert [finding.cause for finding in found.findings] == ["label-out-of-range"]
    assert found.findings[0].batches == 5


def test_also_where_the_model_computes_its_loss():
    found = audit([{"input_ids": TOKENS, "labels": TOKENS + 20}], model=OwnLoss())
    assert found.num_classes == 50
    assert [finding.cause for finding in found.findings] == ["label-out-of-range"]


def test_a_number_of_outputs_that_is_another_is_said():
    found = audit(LOADER, 12, model=convolutional())
    assert "the model has 10 outputs, and num_classes is 12" in found.notes


def test_labels_are_judged_by_the_smaller_number():
    (finding,) = audit(LOADER, 12, model=convolutional(outputs=8)).findings
    assert finding.summary == "labels 8, 9 are out of range for 8 classes, 0 to 7"


def test_weights_are_judged_by_the_output():
    (finding,) = audit(LOADER, model=convolutional(), weight=torch.ones(8)).findings
    assert finding.cause == "weight-length-mismatch"
    double = convolutional().double()
    options = {"model": lambda images: double(images.double()), "weight": torch.ones(10).double()}
    assert audit(LOADER, **options).findings == ()


@pytest.mark.parametrize(
    ("target", "cause"),
    [(torch.ones(70, 9) / 9, "contract-broken"), (torch.eye(7).long().repeat(10, 1), "one-hot-target")],
)
def test_targets_of_other_classes_than_the_output_are_found(target, cause):
    (finding,) = audit([(X, target)], model=convolutional()).findings
    assert (finding.cause, finding.batches) == (cause, 1)
    assert finding.confidence != "possible"


def test_what_follows_from_a_target_that_is_wrong_is_not_said():
    class Flattening(nn.Module):
        def forward(self, x, labels):
            return {"loss": F.cross_entropy(x.mean((2, 3)), labels.flatten()), "logits": x}

    (finding,) = audit([{"x": X, "labels": F.one_hot(Y % 3, 3)}], 3, model=Flattening()).findings
    assert finding.cause == "one-hot-target"


def test_what_does_not_follow_from_it_is():
    broken = DataLoader(TensorDataset(X, torch.zeros(70, 8, 8, dtype=torch.int32)), batch_size=35)
    found = audit(broken, model=nn.Conv2d(3, 4, 2, 2))
    assert [finding.cause for finding in found.findings] == ["wrong-int-target", "spatial-size-mismatch"]


def test_single_batches_of_mixup_are_sound_through_a_model_too():
    one_hot, mixed = F.one_hot(Y, 10).float(), F.one_hot(Y, 10) * 0.9 + 0.01
    found = audit([(X, one_hot), (X, mixed)] * 3, model=convolutional())
    assert (found.findings, found.num_classes) == ((), 10)


MASK = torch.arange(240).view(20, 12) % 12 < 9


@pytest.mark.parametrize(
    ("batch", "target", "model"),
    [
        (
            {"input_ids": TOKENS, "attention_mask": MASK},
            lambda batch: batch["input_ids"].masked_fill(~batch["attention_mask"], -100),
            lambda input_ids, attention_mask: Tagger(50)(input_ids * attention_mask).movedim(1, -1),
        ),
        (
            {"src": TOKENS, "tgt": TOKENS},
            lambda batch: batch["tgt"][:, 1:],
            lambda src, tgt: Tagger(50)(src + 0 * tgt)[:, 1:].movedim(1, -1),
        ),
        ((TOKENS,), lambda batch: batch[0][:, 1:], lambda ids: Tagger(50)(ids)[:, :-1].movedim(1, -1)),
        (
            (TOKENS, MASK),
            lambda batch: batch[0][:, 1:],
            lambda ids, mask: Tagger(50)(ids * mask)[:, :-1].movedim(1, -1),
        ),
        (
            {"x": X, "cls": torch.zeros(70).int(), "domain": torch.zeros(70).long()},
            lambda batch: batch["cls"].long(),
            lambda x, domain: convolutional()(x),
        ),
    ],
)
def test_a_target_that_is_made_of_inputs_leaves_them_to_the_model(batch, target, model):
    assert audit([batch] * 2, target=target, model=model).findings == ()


def test_a_label_that_a_callable_converts_does_not_go_into_the_model():
    layer = nn.Linear(192, 10)
    triples = [(X, torch.arange(70) + 20, Y.int())]
    found = audit(triples, target=lambda batch: batch[2].long(), model=lambda x, at: layer(x.flatten(1)))
    assert (found.findings, found.num_classes) == ((), 10)


def test_a_model_in_a_wrapper_takes_what_it_takes_without():
    found = audit([{"image": X, "label": Y}], model=nn.DataParallel(convolutional()))
    assert (found.findings, found.num_classes) == ((), 10)


def test_binary_scores_without_a_dimension_of_classes_are_found():
    binary = DataLoader(TensorDataset(X, Y % 2), batch_size=16)
    (finding,) = audit(binary, model=lambda images: images.mean((1, 2, 3))).findings
    assert (finding.cause, finding.batches) == ("binary-logits", 4)


def test_inputs_that_are_not_finite_are_no_mistake_where_the_model_bears_them():
    images = X.clone()
    images[3, 0] = torch.nan
    broken = DataLoader(TensorDataset(images, Y), batch_size=16)
    model = convolutional()
    found = audit(broken, model=lambda inputs: model.eval()(inputs.nan_to_num()))
    assert found.findings == ()
    assert found.notes == (
        "the inputs hold NaN or infinity, which the model bears: batch 0, position 3, dataset[3]: 64 of 192 values are NaN",
    )
    (finding,) = audit(broken, model=model).findings
    assert finding.cause == "logits-not-finite"


def test_the_target_that_was_picked_goes_through():
    masks = DataLoader(TensorDataset(X, (torch.arange(70 * 64) % 4).view(70, 1, 8, 8).float()), batch_size=16)
    found = audit(masks, model=nn.Conv2d(3, 4, 1), target=lambda batch: batch[1].squeeze(1).long())
    assert (found.findings, found.notes, found.num_classes) == ((), (), 4)
    taken = audit([{"image": X, "label": Y}], model=convolutional(), target=lambda batch: batch.pop("label"))
    assert (taken.findings, taken.num_classes) == ((), 10)


def test_what_it_writes_into_a_batch_hides_nothing():
    def writing(input_ids, labels):
        labels[labels < 0] = 0
        input_ids.fill_(0)
        return torch.zeros(*labels.shape, 50)

    batch = {"input_ids": TOKENS.clone(), "labels": TOKENS.where(TOKENS > 0, -1)}
    found = audit([batch], model=writing)
    assert [finding.cause for finding in found.findings] == ["ignore-index-mismatch"]
    assert torch.equal(batch["input_ids"], TOKENS)


def test_the_target_is_taken_out_of_each_batch_once():
    sizes = []

    def model(image):
        sizes.append(len(image))
        return torch.zeros(len(image), 10)

    batches = [{"image": X[:size], "label": Y[:size]} for size in (8, 8, 8, 8, 8, 5)]
    assert audit(batches, model=model, target=lambda batch: batch.pop("label")).ok
    assert sizes == [8, 8, 8, 5]


def test_a_last_batch_of_the_usual_size_does_not_go_through():
    sizes = []

    def model(images):
        sizes.append(len(images))
        return torch.zeros(len(images), 10)

    assert audit([(X[:size], Y[:size]) for size in (8, 8, 8, 8, 5, 8)], model=model).ok
    assert sizes == [8, 8, 8]


def test_labels_are_judged_by_a_number_that_is_less_than_its_outputs():
    (finding,) = audit(LOADER, 8, model=convolutional()).findings
    assert finding.summary == "labels 8, 9 are out of range for 8 classes, 0 to 7"


def test_it_may_be_compiled():
    model = torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), backend="eager")
    assert audit([{"x": X, "index": Y, "label": Y}], model=model).num_classes == 10


def test_it_may_take_a_list_of_labels():
    class OfLists(nn.Module):
        def forward(self, x, labels):
            return {"loss": F.cross_entropy(x.mean((2, 3)), torch.tensor(labels)), "logits": x.mean((1, 2, 3))}

    (finding,) = audit([{"x": X, "labels": (Y % 3).tolist()}], model=OfLists()).findings
    assert finding.cause == "target-not-tensor"


def test_what_makes_it_raise_is_among_what_was_seen():
    class OfRows(nn.Module):
        def forward(self, x, labels):
            return {"loss": F.nll_loss(x.mean((2, 3)).log_softmax(1), labels), "logits": x.mean((2, 3))}

    with pytest.raises(RuntimeError, match="multi-target not supported") as caught:
        audit([{"x": X, "labels": Y[:, None] % 3}], model=OfRows())
    where, seen = caught.value.__notes__
    assert where == "safe_ce.audit: in batch 0, counted from 0"
    assert "[SCE204]" in seen


def test_it_may_be_traced():
    broken = [{"x": X, "labels": Y + 1}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of TorchScript
        model = torch.jit.trace(convolutional().eval(), X)
    assert [finding.cause for finding in audit(broken, model=model).findings] == ["labels-start-at-one"]


def test_logits_without_values_are_not_read():
    found = audit(LOADER, model=convolutional().to("meta"))
    assert (found.findings, found.num_classes) == ((), 10)


def test_it_reads_batches_that_cannot_be_copied():
    model = convolutional(outputs=8)
    (finding,) = audit([{"x": X, "label": Y, "lock": Lock()}], model=lambda **batch: model(batch["x"])).findings
    assert finding.cause == "label-out-of-range"


def test_scores_with_the_classes_last_are_judged_as_rows():
    found = audit([(X.movedim(1, -1), (torch.arange(70 * 64) % 5).view(70, 8, 8))], model=nn.Linear(3, 5))
    assert (found.findings, found.num_classes) == ((), 5)
    assert found.notes == (
        "scores of shape (70, 8, 8, 5) were judged as rows, as a loop gives them that flattens both: the loss itself wants"
        " the classes in dim 1",
    )


def test_a_number_of_classes_that_shows_late_judges_all_batches():
    answers = iter(["no tensor"])
    model = convolutional(outputs=9)
    found = audit(LOADER, model=lambda images: next(answers, None) or model(images))
    (finding,) = found.findings
    assert (finding.cause, found.num_classes) == ("label-out-of-range", 9)
    assert "7 of 70 labels out of range" in finding.evidence


def test_an_output_that_is_no_tensor_is_said():
    found = audit(LOADER, 10, model=lambda x: {"out": x, "aux": x})
    assert found.ok
    assert found.notes[-1].startswith("the model returned a dict of 2: model=lambda")


def test_the_model_is_left_bit_for_bit_as_it_was():
    model = convolutional()
    model.train()
    model[1].eval()  # as somebody has frozen it
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    random = torch.get_rng_state()
    audit(LOADER, model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_only_the_first_batches_and_a_smaller_last_one_go_through():
    seen = []

    def model(x):
        seen.append(len(x))
        return x.new_zeros(len(x), 10)

    audit(LOADER, model=model)
    assert seen == [16, 16, 16, 6]
    seen.clear()
    audit(LOADER, model=model, batches=2)
    assert seen == [16, 16]
    seen.clear()
    audit([(X[:size], Y[:size]) for size in (16, 16, 16, 16, 6, 16)], model=model, batches=5)
    assert seen == [16, 16, 16]


@pytest.mark.parametrize(("fails_at", "batch"), [(16, 0), (6, 4)])
def test_what_the_model_raises_comes_out_with_the_batch(fails_at, batch):
    model = convolutional()

    def failing(x):
        if len(x) == fails_at:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return model(x)

    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        audit(LOADER, model=failing)
    assert caught.value.__notes__[0].startswith(f"safe_ce.audit: in batch {batch}, counted from 0")
    assert all(module.training for module in model.modules())
