"""safe_ce.audit on real data and on other packages' batches, models and loaders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from safe_ce import audit


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's handwritten digits: 1797 images of 8 by 8 pixels, and what they show."""
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    return torch.as_tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.as_tensor(labels)


class Digits(Dataset):
    """The digits as a data set, each sample made by functions of the test's."""

    def __init__(self, images, labels, image=lambda at, image: image, label=lambda at, label: label):
        self.images, self.labels, self.image, self.label = images, labels, image, label

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, at):
        return self.image(at, self.images[at]), self.label(at, self.labels[at])


def loader(digits, batch_size=64, collate_fn=None, **made):
    """The digits, shuffled."""
    generator = torch.Generator().manual_seed(0)
    return DataLoader(Digits(*digits, **made), batch_size, shuffle=True, generator=generator, collate_fn=collate_fn)


def at(wanted, value):
    """Changes one sample."""
    return lambda number, given: value(given) if number == wanted else given


def mask(number, image):
    """The image as a mask of two classes."""
    return (image[0] > 0.5).long()


def collated(samples, *, good=lambda x, y: True):
    """A batch whose targets are those of the good samples only."""
    return torch.stack([x for x, _ in samples]), torch.stack([y for x, y in samples if good(x, y)])


def test_they_are_sound(digits):
    found = audit(loader(digits), 10)
    assert found.findings == ()
    assert found.notes == ()
    assert found.counts == (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    assert (found.samples, found.batches, found.last_batch) == (1797, 29, 5)


@pytest.mark.parametrize(
    ("classes", "cause", "made"),
    [
        (10, "ignore-index-mismatch", {"label": at(731, lambda label: label * 0 - 1)}),
        (10, "label-out-of-range", {"label": at(731, lambda label: label * 0 + 23)}),
        (10, "logits-not-finite", {"image": at(731, lambda image: image / 0)}),
        (10, "target-not-normalized", {"label": lambda n, label: _smoothed(label) * (100 if n == 731 else 1)}),
        (10, "target-not-normalized", {"label": lambda n, label: _smoothed(label) - (0.1 if n == 731 else 0)}),
        (10, "target-not-normalized", {"label": lambda n, label: _smoothed(label) / (0 if n == 731 else 1)}),
        (10, "multi-hot-target", {"label": lambda n, y: F.one_hot(y, 10).clamp(min=float(n == 731))}),
    ],
)
def test_the_one_broken_sample_is_named(digits, classes, cause, made):
    (finding,) = audit(loader(digits, **made), classes).findings
    assert finding.cause == cause
    assert [sample.index for sample in finding.samples] == [731]


def _smoothed(label):
    return F.one_hot(label, 10) * 0.9 + 0.01


@pytest.mark.parametrize(
    ("cause", "made"),
    [
        ("labels-start-at-one", {"label": lambda _, label: label + 1}),
        ("target-extra-dim", {"label": lambda _, label: label[None]}),
        ("wrong-int-target", {"label": lambda _, label: label.int()}),
        ("float-index-target", {"label": lambda _, label: label.float()}),
        ("one-hot-target", {"label": lambda _, label: F.one_hot(label, 10)}),
        ("one-hot-target", {"label": lambda _, label: F.one_hot(label, 10).float()}),
        ("all-targets-ignored", {"label": lambda _, label: label * 0 - 100}),
        ("target-not-tensor", {"label": lambda _, label: f"digit {label}"}),
        ("regression-target", {"label": lambda _, label: label / 9}),
    ],
)
def test_a_mistake_in_every_sample_is_found(digits, cause, made):
    found = audit(loader(digits, **made), 10)
    assert [finding.cause for finding in found.findings] == [cause]
    assert found.findings[0].batches >= 28


def test_a_mask_is_sound_and_a_255_in_it_is_named(digits):
    masks = [mask(0, image) for image in digits[0]]
    assert audit(loader(digits, label=lambda n, _: masks[n]), 2).findings == ()
    (finding,) = audit(loader(digits, label=lambda n, _: masks[n] * (255 if n == 731 else 1)), 2).findings
    assert (finding.cause, [sample.index for sample in finding.samples]) == ("ignore-index-mismatch", [731])
    (finding,) = audit(loader(digits, label=lambda n, _: masks[n] * 255), 2).findings
    assert finding.cause == "mask-not-class-ids"


def test_one_of_two_readers_that_gives_one_hot_labels_is_found(digits):
    first, second = loader(digits), loader(digits, label=lambda _, label: F.one_hot(label, 10).float())
    (finding,) = audit((batch for pair in zip(first, second, strict=True) for batch in pair), 10).findings
    assert (finding.cause, finding.batches) == ("one-hot-target", 29)
    assert [sample.batch for sample in finding.samples] == [1, 3, 5, 7, 9]


def test_a_collate_function_that_drops_bad_samples_on_one_side_is_found(digits):
    images, labels = digits
    labels = labels.clone()
    labels[731] = -1
    broken = DataLoader(
        Digits(images, labels), 64, collate_fn=lambda samples: collated(samples, good=lambda _, y: y >= 0)
    )
    found = audit(broken, 10)
    (finding,) = found.findings
    assert finding.cause == "ragged-batch"
    assert not any("samples, not only at the end" in note for note in found.notes)
    assert [str(sample) for sample in finding.samples] == ["batch 11: 64 inputs, 63 targets of dataset[704:768]"]


def test_batch_sizes_and_a_last_batch_of_one_are_told(digits):
    images, labels = digits
    assert "has 1 sample" in audit(DataLoader(Digits(images[:641], labels[:641]), 64), 10).notes[0]
    sizes = [(images[:size], labels[:size]) for size in (64, 50, 64)]
    assert "the batches have 50 to 64 samples, not only at the end" in audit(sizes, 10).notes[0]


def test_class_balance_is_told(digits):
    images, labels = digits
    few = torch.cat([(labels != 3).nonzero()[:, 0], (labels == 3).nonzero()[:5, 0]])
    found = audit(DataLoader(Digits(images[few], labels[few]), 64), 10)
    assert found.ok
    assert found.class_weights.argmax() == 3
    assert "is 36.4 times as frequent as class 3" in str(found)


class TestHuggingFace:
    """Batches of a data collator, and models that compute their loss."""

    @pytest.fixture
    def transformers(self):
        return pytest.importorskip("transformers")

    def batches(self, transformers, labels):
        features = [
            {"input_ids": [1, 2 + n % 7, 3], "attention_mask": [1, 1, 1], "label": y} for n, y in enumerate(labels)
        ]
        return DataLoader(features, batch_size=8, collate_fn=transformers.default_data_collator)

    def classifier(self, transformers, **options):
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **options
        )
        return transformers.BertForSequenceClassification(config)

    def test_a_collator_s_batches_are_read(self, transformers):
        assert audit(self.batches(transformers, [0, 1, 2] * 8), 3).findings == ()
        (finding,) = audit(self.batches(transformers, [0, 1, 2] * 7 + [5]), 3).findings
        assert (finding.cause, finding.samples[0].index) == ("label-out-of-range", 21)

    def test_a_batch_encoding_is_read(self, transformers):
        batch = transformers.BatchEncoding(
            {"input_ids": torch.ones(4, 3).long(), "labels": torch.tensor([0, 1, -1, 2])}
        )
        (finding,) = audit([batch], 3).findings
        assert (finding.cause, finding.samples[0].position) == ("ignore-index-mismatch", 2)

    def test_a_classifier_s_head_is_compared_with_the_labels(self, transformers):
        model = self.classifier(transformers, num_labels=3).train()
        assert audit(self.batches(transformers, [0, 1, 2] * 8), model=model).findings == ()
        found = audit(self.batches(transformers, [0, 1, 2, 3] * 6), model=model)
        assert found.num_classes == 3
        assert [finding.cause for finding in found.findings] == ["label-out-of-range"]
        assert all(module.training for module in model.modules())

    def test_a_causal_language_model_shifts_its_labels(self, transformers):
        config = transformers.GPT2Config(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2)
        tokens = torch.arange(32).view(4, 8) % 20
        batches = [{"input_ids": tokens, "labels": tokens.masked_fill(tokens == 3, -100)}] * 2
        found = audit(batches, model=transformers.GPT2LMHeadModel(config))
        assert found.findings == ()
        assert found.num_classes == 20


def test_a_prepared_loader_of_accelerate_is_read(digits):
    accelerate = pytest.importorskip("accelerate")
    prepared = accelerate.Accelerator(cpu=True).prepare(loader(digits, label=at(731, lambda label: label * 0 - 1)))
    (finding,) = audit(prepared, 10).findings
    assert finding.cause == "ignore-index-mismatch"
    assert [sample.seen for sample in finding.samples] == ["label -1"]
