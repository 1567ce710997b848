"""What a trail blames in programs of transformers, Lightning and accelerate: a line of the program, none of theirs.

A line with a mistake ends with a comment that gives it a name, and one that builds a layer with the layer's.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, random_split

import safe_ce
from safe_ce import SafeCrossEntropyError
from tests.ecosystem.programs import seeded

accelerate = pytest.importorskip("accelerate")
lightning = pytest.importorskip("lightning")
transformers = pytest.importorskip("transformers")

WORDS, LABELS, LENGTH, ROWS, HIDDEN = 30, 4, 8, 6, 16
TINY = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 2 * LENGTH,
}
CONFIG = transformers.BertConfig(**TINY, num_labels=LABELS, problem_type="single_label_classification")


class Mistake(NamedTuple):
    """A mistake in a program, which is made and run with some options, and the blame for it."""

    cause: str
    operation: str
    module: str | None
    program: Callable[..., Callable[[], Any]]
    built: str | None = None


@pytest.fixture(autouse=True, scope="module")
def only_a_test_s_own_objects_are_collected():
    """Whoever trains with accelerate has all garbage collected: here that took most of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="module")
def lightning_is_silent():
    """It logs at every start what the machine has."""
    with patch.object(logging.getLogger("lightning"), "level", logging.ERROR):
        yield


# Models of transformers, trained by its Trainer.


class Classifier(transformers.BertPreTrainedModel):
    """Tells a sentence's class by what stands for the whole of it."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = transformers.BertModel(config)
        self.dropout = nn.Dropout(0.1)
        self.classifier = self.head(config)
        self.post_init()

    def head(self, config):
        return nn.Linear(config.hidden_size, config.num_labels)  # BUILT: classifier

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.score(self.bert(input_ids, attention_mask=attention_mask))  # CALLED
        return transformers.modeling_outputs.SequenceClassifierOutput(F.cross_entropy(logits, labels), logits)

    def score(self, outputs):
        return self.classifier(self.dropout(outputs.pooler_output))  # MISTAKE: softmax layer


class EndingInSoftmax(Classifier):
    def head(self, config):
        return nn.Sequential(
            nn.Linear(config.hidden_size, config.num_labels),
            nn.Softmax(dim=-1),  # BUILT: softmax
        )


class Squeezing(Classifier):
    def score(self, outputs):
        return self.classifier(self.dropout(outputs.pooler_output)).squeeze()  # MISTAKE: squeezed


class KeepingTime(Classifier):
    def score(self, outputs):
        mean = outputs.last_hidden_state.mean(dim=1, keepdim=True)  # MISTAKE: time kept
        return self.classifier(self.dropout(mean))


class Folding(Classifier):
    def head(self, config):
        return nn.Linear(2 * config.hidden_size, config.num_labels)

    def score(self, outputs):
        pairs = outputs.last_hidden_state.view(-1, 2 * HIDDEN)  # MISTAKE: folded
        return self.classifier(self.dropout(pairs))


class NotPooling(Classifier):
    def score(self, outputs):
        return self.classifier(outputs.last_hidden_state)  # MISTAKE: not pooled


class Normalising(Classifier):
    def score(self, outputs):
        logits = self.classifier(self.dropout(outputs.pooler_output))
        return torch.softmax(logits, dim=-1)  # MISTAKE: softmax in forward


class Choosing(Classifier):
    def score(self, outputs):
        return self.classifier(outputs.pooler_output).argmax(-1)  # MISTAKE: argmax


class Tagger(Classifier):
    def score(self, outputs):
        logits = self.classifier(outputs.last_hidden_state)
        return logits.view(-1, LABELS, LENGTH)  # MISTAKE: viewed


class Sentences(Dataset):
    def __init__(self, rows=2 * ROWS):
        self.words = torch.randint(5, WORDS, (rows, LENGTH))

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": self.label(index)}

    def label(self, index):
        return index % LABELS


class FromOne(Sentences):
    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": index % LABELS + 1}  # MISTAKE: numbered from 1


class TaggedSentences(Sentences):
    def label(self, index):
        return self.words[index] % LABELS


def collated(sentences):
    return transformers.default_data_collator(sentences)


def in_a_column(sentences):
    batch = collated(sentences)
    batch["labels"] = batch["labels"].unsqueeze(-1)  # MISTAKE: column
    return batch


def as_floats(sentences):
    batch = collated(sentences)
    batch["labels"] = batch["labels"].float()  # MISTAKE: floats
    return batch


class OneHot:
    def __call__(self, sentences):
        batch = collated(sentences)
        return {**batch, "labels": F.one_hot(batch["labels"], LABELS)}  # MISTAKE: one-hot


def shortened(sentences):
    return {
        "input_ids": torch.stack([sentence["input_ids"] for sentence in sentences]),
        "labels": torch.stack([sentence["labels"][1:] for sentence in sentences]),  # MISTAKE: cut
    }


class Recording(transformers.Trainer):
    """Keeps the losses, which the Trainer itself only logs, rounded."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.losses = []

    def training_step(self, *arguments, **options):
        loss = super().training_step(*arguments, **options)
        self.losses.append(loss.item())
        return loss


class Tempering(Recording):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        tempered = (outputs.logits / 2).softmax(-1)  # MISTAKE: tempered
        return F.cross_entropy(tempered, labels)


class Whole(Recording):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)  # MISTAKE: whole output
        return F.cross_entropy(outputs, labels)


def trained(model, data=Sentences, collate=collated, trainer=Recording, rows=ROWS, **options):
    """A program that trains for two steps, and returns the losses."""

    def program():
        # Accelerate's state is the process's, and would have the precision of the test before.
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ):
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=rows,
                max_steps=2,
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                dataloader_pin_memory=False,
                **options,
            )
            running = trainer(model=model(), args=arguments, train_dataset=data(), data_collator=collate)
            running.train()
            return running.losses

    return program


def of_bert(kind):
    return lambda: kind(CONFIG)


OF_TRANSFORMERS = {
    "softmax layer": Mistake(
        "softmax-applied", "softmax", "classifier.1 (Softmax)", partial(trained, of_bert(EndingInSoftmax)), "softmax"
    ),
    "softmax in forward": Mistake(
        "softmax-applied", "softmax", "Normalising", partial(trained, of_bert(Normalising))
    ),
    "squeezed": Mistake(
        "logits-missing-batch-dim", "squeeze", "Squeezing",
        partial(trained, of_bert(Squeezing), partial(Sentences, ROWS + 1)),
    ),
    "time kept": Mistake("logits-extra-dim", "mean", "KeepingTime", partial(trained, of_bert(KeepingTime))),
    "folded": Mistake("features-folded-into-batch", "view", "Folding", partial(trained, of_bert(Folding))),
    "not pooled": Mistake(
        "logits-not-pooled", "linear", "classifier (Linear)", partial(trained, of_bert(NotPooling)), "classifier"
    ),
    "argmax": Mistake("class-ids-as-logits", "argmax", "Choosing", partial(trained, of_bert(Choosing))),
    "viewed": Mistake("view-instead-of-permute", "view", "Tagger", partial(trained, of_bert(Tagger), TaggedSentences)),
    "numbered from 1": Mistake("labels-start-at-one", "tensor", None, partial(trained, of_bert(Classifier), FromOne)),
    "column": Mistake(
        "target-extra-dim", "unsqueeze", None, partial(trained, of_bert(Classifier), collate=in_a_column)
    ),
    "floats": Mistake("float-index-target", "float", None, partial(trained, of_bert(Classifier), collate=as_floats)),
    "one-hot": Mistake(
        "one-hot-target", "one_hot", None,
        partial(trained, of_bert(transformers.BertForSequenceClassification), collate=OneHot()),
    ),
    "cut": Mistake(
        "sequence-length-mismatch", "__getitem__", None,
        partial(trained, of_bert(transformers.BertForTokenClassification), TaggedSentences, shortened),
    ),
    "tempered": Mistake(
        "softmax-applied", "softmax", None, partial(trained, of_bert(Classifier), trainer=Tempering)
    ),
    "whole output": Mistake(
        "output-not-tensor", "forward", "BertForSequenceClassification",
        partial(trained, of_bert(transformers.BertForSequenceClassification), trainer=Whole),
    ),
}  # fmt: skip
