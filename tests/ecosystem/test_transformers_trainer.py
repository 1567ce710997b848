"""The Trainer of transformers, over tiny models that are built from a config."""

from __future__ import annotations

import gc
import math
import os
from functools import partial
from unittest.mock import patch

import pytest
import torch
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyWarning
from tests.ecosystem.programs import seeded

transformers = pytest.importorskip("transformers")
accelerate = pytest.importorskip("accelerate")

WORDS, LABELS, LENGTH = 30, 4, 8
TINY = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 2 * LENGTH,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(autouse=True, scope="module")
def only_a_test_s_own_objects_are_collected():
    """Whoever trains with accelerate has all garbage collected: here that took most of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


class Recording(transformers.Trainer):
    """Keeps the losses, which the Trainer itself only logs, rounded."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.losses = []

    def training_step(self, *arguments, **options):
        loss = super().training_step(*arguments, **options)
        self.losses.append(loss.item())
        return loss


class Weighing(Recording):
    """The usual way to weigh classes: a Trainer with a loss of one's own."""

    weight = torch.arange(1.0, LABELS + 1)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = nn.CrossEntropyLoss(weight=self.weight)(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


class WeighingTooFew(Weighing):
    weight = torch.ones(LABELS - 1)


@pytest.fixture
def train(tmp_path):
    """Trains on what `example` makes of a number. Returns the losses, the last of them that of an evaluation."""
    # Some releases leave the options that are accelerate's in the environment.
    with patch.dict(os.environ):
        yield partial(_train, tmp_path)


def _train(folder, model, example, trainer=Recording, **options):
    # Accelerate's state is the process's, and would have the precision of the test before.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    options = {"max_steps": 5, **options}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
        dataloader_pin_memory=False,
        **options,
    )
    data = seeded(lambda: [example(number) for number in range(24)])
    running = trainer(model=seeded(model), args=arguments, train_dataset=data, eval_dataset=data[:8])
    running.train()
    return [*running.losses, running.evaluate()["eval_loss"]]


def gpt2():
    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, **SPECIAL)
    return transformers.GPT2LMHeadModel(config)


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY, num_key_value_heads=2, **SPECIAL))


def bert_classifier():
    return transformers.BertForSequenceClassification(transformers.BertConfig(**TINY, num_labels=LABELS))


def electra_classifier():
    config = transformers.ElectraConfig(**TINY, embedding_size=16, num_labels=LABELS)
    return transformers.ElectraForSequenceClassification(config)


def bert_tagger():
    return transformers.BertForTokenClassification(transformers.BertConfig(**TINY, num_labels=LABELS))


def ending_in(activation, build):
    """A model whose head has an activation at its end."""

    def built():
        model = build()
        head = "lm_head" if hasattr(model, "lm_head") else "classifier"
        setattr(model, head, nn.Sequential(getattr(model, head), activation))
        return model

    return built


def words():
    return torch.randint(5, WORDS, (LENGTH,))


def tags():
    return torch.randint(LABELS, (LENGTH,))


def labelled(label):
    """Makes an example with the label that a function makes of its number."""
    return lambda number: {"input_ids": words(), "labels": label(number)}


def text(number):
    ids = words()
    return {"input_ids": ids, "labels": ids.clone()}


sorted_by_kind = labelled(lambda number: number % LABELS)
tagged = labelled(lambda number: tags().index_fill(0, torch.tensor([0, -1]), -100))
unlabelled = labelled(lambda number: torch.full((LENGTH,), -100))

SOUND = {
    "a GPT-2": (gpt2, text),
    "a Llama": (llama, text),
    "a classifier of BERT, which builds its loss in every call": (bert_classifier, sorted_by_kind),
    "a tagger of BERT": (bert_tagger, tagged),
}


@pytest.mark.parametrize(("model", "example"), SOUND.values(), ids=SOUND)
def test_a_sound_program_trains_untouched(train, guarded, model, example):
    assert guarded(lambda: train(model, example)) == train(model, example)


OPTIONS = {
    "bfloat16": (bert_classifier, sorted_by_kind, {"bf16": True}),
    "gradients accumulated": (gpt2, text, {"gradient_accumulation_steps": 2}),
    "a weighted loss": (bert_classifier, sorted_by_kind, {"trainer": Weighing}),
    "compiled": (bert_classifier, sorted_by_kind, {"torch_compile": True, "torch_compile_backend": "eager"}),
    "long enough that looks are skipped": (bert_classifier, sorted_by_kind, {"max_steps": 40}),
}


@pytest.mark.parametrize(("model", "example", "options"), OPTIONS.values(), ids=OPTIONS)
def test_so_it_does_with_the_trainer_s_options(train, guarded, model, example, options):
    assert guarded(lambda: train(model, example, **options)) == train(model, example, **options)


@pytest.mark.parametrize(("model", "example"), [(gpt2, text), (bert_classifier, sorted_by_kind)])
def test_the_trainer_s_own_smoothing_is_left_alone(train, model, example):
    """It has a loss of its own, of log_softmax, and calls no cross entropy that could be guarded."""
    plain = train(model, example, label_smoothing_factor=0.1)
    calls = safe_ce.stats().calls
    with safe_ce.guarded("strict"):
        assert train(model, example, label_smoothing_factor=0.1) == plain
    assert safe_ce.stats().calls == calls
    assert plain != train(model, example)


BROKEN = {
    "softmax-applied": [
        (ending_in(nn.Softmax(-1), bert_classifier), sorted_by_kind),
        (ending_in(nn.Softmax(-1), gpt2), text),
        (ending_in(nn.Softmax(-1), bert_tagger), tagged),
        (ending_in(nn.Softmax(-1), bert_tagger), tagged, {"bf16": True}),
        (ending_in(nn.Softmax(-1), bert_classifier), sorted_by_kind, {"trainer": Weighing}),
    ],
    "labels-start-at-one": [
        (bert_classifier, labelled(lambda number: number % LABELS + 1)),
        (electra_classifier, labelled(lambda number: number % LABELS + 1)),
    ],
    "label-out-of-range": [
        (bert_classifier, labelled(lambda number: number % LABELS + LABELS * (number % 5 == 0))),
        (gpt2, labelled(lambda number: torch.randint(WORDS + 10, (LENGTH,)))),
        # Two labels are too few for the absence of 0 to say anything.
        (bert_classifier, labelled(lambda number: number % LABELS + 1), {"per_device_train_batch_size": 2}),
    ],
    "ignore-index-mismatch": [(bert_tagger, labelled(lambda number: tags().index_fill(0, torch.tensor([0, -1]), -1)))],
    "one-hot-target": [
        (bert_classifier, labelled(lambda number: torch.eye(LABELS).long()[number % LABELS])),
        (electra_classifier, labelled(lambda number: torch.eye(LABELS).long()[number % LABELS])),
    ],
    "logits-not-pooled": [(bert_tagger, labelled(lambda number: number % LABELS))],
    "target-not-pooled": [(bert_classifier, labelled(lambda number: tags()))],
    "sequence-length-mismatch": [
        (gpt2, labelled(lambda number: words()[1:])),
        (bert_tagger, labelled(lambda _: tags()[2:])),
    ],
    "weight-length-mismatch": [(bert_classifier, sorted_by_kind, {"trainer": WeighingTooFew})],
}


@pytest.mark.parametrize(
    ("cause", "program"), [(cause, program) for cause, programs in BROKEN.items() for program in programs]
)
def test_a_broken_program_is_stopped_at_its_first_step_by_its_cause(train, cause, program):
    model, example, *options = program
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        train(model, example, **dict(*options))
    assert caught.value.cause == cause
    assert caught.value.findings[0].call == 1


def test_the_report_for_few_labels_names_those_that_start_at_one_too(train):
    model, example, options = BROKEN["label-out-of-range"][-1]
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        train(model, example, **options)
    assert [finding.cause for finding in caught.value.findings] == ["label-out-of-range", "labels-start-at-one"]


DOUBTFUL = {
    "log-softmax-applied": (ending_in(nn.LogSoftmax(-1), gpt2), text),
    "sigmoid-applied": (ending_in(nn.Sigmoid(), bert_classifier), sorted_by_kind),
    "relu-applied": (ending_in(nn.ReLU(), bert_tagger), tagged),
}


@pytest.mark.parametrize(("cause", "program"), DOUBTFUL.items())
def test_a_doubtful_program_is_warned_about_once_and_trains_on_untouched(train, cause, program):
    plain = train(*program)
    with safe_ce.guarded(), pytest.warns(SafeCrossEntropyWarning) as caught:
        assert train(*program) == plain
    assert [warning.message.finding.cause for warning in caught] == [cause]


def test_labels_that_are_all_ignored_are_warned_about_once(train):
    with safe_ce.guarded(), pytest.warns(SafeCrossEntropyWarning) as caught:
        losses = train(bert_tagger, unlabelled)
    assert all(math.isnan(loss) for loss in losses)
    assert [warning.message.finding.cause for warning in caught] == ["all-targets-ignored"]


def test_in_warn_mode_a_broken_program_trains_on_untouched(train):
    program = BROKEN["softmax-applied"][0]
    plain = train(*program)
    with safe_ce.guarded("warn"), pytest.warns(SafeCrossEntropyWarning) as caught:
        assert train(*program) == plain
    assert [warning.message.finding.cause for warning in caught] == ["softmax-applied"]


def test_in_warn_mode_native_s_exception_has_the_diagnosis_as_a_note(train):
    with safe_ce.guarded("warn"), pytest.raises(IndexError, match="Target 4 is out of bounds") as caught:
        train(*BROKEN["labels-start-at-one"][0])
    assert type(caught.value) is IndexError
    assert "[SCE209]" in caught.value.__notes__[0]
