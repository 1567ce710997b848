"""What a trail blames in programs of transformers, Lightning and accelerate: a line of the program, none of theirs.

Such a line ends with a comment that names the mistake, and so does the one that built the layer.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
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

pytestmark = [
    # Transformers 5.23 has another name for it, which 5.0 has not.
    pytest.mark.filterwarnings(r"ignore:`gradient_checkpointing\w*` is deprecated:FutureWarning"),
    # Torch's, of a validation without gradients.
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
]

WORDS, LABELS, LENGTH, ROWS, HIDDEN = 30, 4, 8, 6, 16
CONFIG = transformers.BertConfig(
    vocab_size=WORDS,
    hidden_size=HIDDEN,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=2 * LENGTH,
    num_labels=LABELS,
    problem_type="single_label_classification",
)
SOFTMAX = partial(nn.Softmax, -1)


@pytest.fixture(autouse=True, scope="module")
def only_a_test_s_own_objects_are_collected():
    """Whoever trains with accelerate has all garbage collected: here that took most of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


# Sentences, and who puts them together.


class Sentences(Dataset):
    def __init__(self, rows=2 * ROWS):
        self.words = torch.randint(5, WORDS, (rows, LENGTH))

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": index % LABELS}


class TaggedSentences(Sentences):
    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": self.words[index] % LABELS}


class NumberedFromOne(Sentences):
    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": index % LABELS + 1}  # MISTAKE: numbered from 1


def in_a_column(sentences):
    batch = transformers.default_data_collator(sentences)
    batch["labels"] = batch["labels"].unsqueeze(-1)  # MISTAKE: in a column
    return batch


def as_floats(sentences):
    batch = transformers.default_data_collator(sentences)
    return {**batch, "labels": batch["labels"].float()}  # MISTAKE: as floats


class OneHot:
    def __call__(self, sentences):
        batch = transformers.default_data_collator(sentences)
        return {**batch, "labels": F.one_hot(batch["labels"], LABELS)}  # MISTAKE: one-hot


def cut(sentences):
    labels = torch.stack([sentence["labels"][1:] for sentence in sentences])  # MISTAKE: cut
    return {"input_ids": torch.stack([sentence["input_ids"] for sentence in sentences]), "labels": labels}


# Models and trainers as those of transformers are extended.


class Classifier(transformers.BertPreTrainedModel):
    """Tells the class of a sentence."""

    def __init__(self, config, width=HIDDEN):
        super().__init__(config)
        self.bert = transformers.BertModel(config)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(width, config.num_labels)  # BUILT: not pooled
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.score(self.bert(input_ids, attention_mask=attention_mask))  # CALLED
        return transformers.modeling_outputs.SequenceClassifierOutput(F.cross_entropy(logits, labels), logits)

    def score(self, outputs):
        return self.classifier(self.dropout(outputs.pooler_output))  # MISTAKE: softmax layer


class WithSoftmax(Classifier):
    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Sequential(
            nn.Linear(HIDDEN, config.num_labels),
            nn.Softmax(dim=-1),  # BUILT: softmax layer
        )


class Normalising(Classifier):
    def score(self, outputs):
        return torch.softmax(super().score(outputs), dim=-1)  # MISTAKE: softmax


class Squeezing(Classifier):
    def score(self, outputs):
        return super().score(outputs).squeeze()  # MISTAKE: squeezed


class KeepingTime(Classifier):
    def score(self, outputs):
        mean = outputs.last_hidden_state.mean(dim=1, keepdim=True)  # MISTAKE: time kept
        return self.classifier(self.dropout(mean))


class Folding(Classifier):
    def score(self, outputs):
        pairs = outputs.last_hidden_state.view(-1, 2 * HIDDEN)  # MISTAKE: folded
        return self.classifier(self.dropout(pairs))


class NotPooling(Classifier):
    def score(self, outputs):
        return self.classifier(outputs.last_hidden_state)  # MISTAKE: not pooled


class Tagger(Classifier):
    def score(self, outputs):
        return self.classifier(outputs.last_hidden_state).view(-1, LABELS, LENGTH)  # MISTAKE: viewed


class Trainer(transformers.Trainer):
    """Keeps the losses, which its base only logs, rounded."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.losses = []

    def training_step(self, *arguments, **options):
        loss = super().training_step(*arguments, **options)
        self.losses.append(loss.item())
        return loss


class TemperingTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        scores = (model(**inputs).logits / 2).softmax(-1)  # MISTAKE: tempered
        return F.cross_entropy(scores, labels)


class WholeTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)  # MISTAKE: whole output
        return F.cross_entropy(outputs, labels)


def trained(model=Classifier, data=Sentences, collate=None, trainer=Trainer, **options):
    """A program that trains a model of a class for two steps, and returns the losses."""

    def program():
        # Accelerate's state is the process's, and would have the precision of the test before.
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        with TemporaryDirectory() as folder, patch.dict(os.environ):
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=ROWS,
                max_steps=2,
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                dataloader_pin_memory=False,
                **options,
            )
            running = trainer(model=model(CONFIG), args=arguments, train_dataset=data(), data_collator=collate)
            running.train()
            return running.losses

    return program


def checkpointed(*, reentrant):
    return {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}


OF_BERT = transformers.BertForSequenceClassification
TAGGER_OF_BERT = transformers.BertForTokenClassification
UNEVEN, HALVES = partial(Sentences, ROWS + 1), partial(Folding, width=2 * HIDDEN)
OF_TRANSFORMERS = {
    "softmax layer": ("softmax-applied", "softmax", "classifier.1 (Softmax)", partial(trained, WithSoftmax)),
    "softmax": ("softmax-applied", "softmax", "Normalising", partial(trained, Normalising)),
    "squeezed": ("logits-missing-batch-dim", "squeeze", "Squeezing", partial(trained, Squeezing, UNEVEN)),
    "time kept": ("logits-extra-dim", "mean", "KeepingTime", partial(trained, KeepingTime)),
    "folded": ("features-folded-into-batch", "view", "Folding", partial(trained, HALVES)),
    "not pooled": ("logits-not-pooled", "linear", "classifier (Linear)", partial(trained, NotPooling)),
    "viewed": ("view-instead-of-permute", "view", "Tagger", partial(trained, Tagger, TaggedSentences)),
    "tempered": ("softmax-applied", "softmax", None, partial(trained, OF_BERT, trainer=TemperingTrainer)),
    "whole output": ("output-not-tensor", "forward", OF_BERT.__name__, partial(trained, OF_BERT, trainer=WholeTrainer)),
    "numbered from 1": ("labels-start-at-one", "tensor", None, partial(trained, data=NumberedFromOne)),
    "in a column": ("target-extra-dim", "unsqueeze", None, partial(trained, collate=in_a_column)),
    "as floats": ("float-index-target", "float", None, partial(trained, OF_BERT, collate=as_floats)),
    "one-hot": ("one-hot-target", "one_hot", None, partial(trained, OF_BERT, collate=OneHot())),
    "cut": ("sequence-length-mismatch", "__getitem__", None, partial(trained, TAGGER_OF_BERT, TaggedSentences, cut)),
}

# A network around an encoder of transformers, in a loop of the program's own, and of accelerate's.


class Network(nn.Module):
    """An encoder and a head, of both of which the activations are computed anew for the gradients."""

    def __init__(self, end, reentrant):
        super().__init__()
        self.encoder = transformers.BertModel(CONFIG)
        self.encoder.gradient_checkpointing_enable({"use_reentrant": reentrant})
        self.head = nn.Sequential(nn.Linear(HIDDEN, LABELS), end())  # BUILT: end of a head
        self.reentrant = reentrant

    def forward(self, words):
        features = self.encoder(words).pooler_output
        return checkpoint(self.head, features, use_reentrant=self.reentrant)  # MISTAKE: end of a head


def looped(end=nn.Identity, *, reentrant=False, bfloat16=False):
    def program():
        network = Network(end, reentrant)
        optimizer = torch.optim.AdamW(network.parameters())
        losses = []
        for words in torch.randint(5, WORDS, (3, ROWS, LENGTH)):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(network(words), words[:, 0] % LABELS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return program


def accelerated(end=nn.Identity, collate=None, precision="no"):
    def program():
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision)
        network = Network(end, reentrant=False)
        optimizer = torch.optim.AdamW(network.parameters())
        loader = DataLoader(Sentences(), ROWS, collate_fn=collate)
        network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
        losses = []
        for batch in loader:
            loss = F.cross_entropy(network(batch["input_ids"]), batch["labels"])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    return program


END_OF_A_HEAD = ("softmax-applied", "softmax", "head.1 (Softmax)", partial(looped, SOFTMAX))

# Modules of Lightning.


class Images(Dataset):
    def __init__(self):
        self.images = torch.randn(3 * ROWS, 3, 8, 8)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], index % LABELS


class OneHotImages(Images):
    def __getitem__(self, index):
        label = torch.zeros(LABELS, dtype=torch.long)
        label[index % LABELS] = 1  # MISTAKE: one-hot in a dataset
        return self.images[index], label


class Loading(lightning.LightningDataModule):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def setup(self, stage):
        self.training, self.validation = random_split(self.images(), [2 * ROWS, ROWS])

    def train_dataloader(self):
        return DataLoader(self.training, ROWS, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.validation, ROWS)


class Reader(lightning.LightningModule):
    """Tells what is on an image."""

    def __init__(self, width=64, *, reentrant=False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(width, LABELS)
        self.reentrant = reentrant
        self.losses = []

    def forward(self, images):
        return checkpoint(self.score, self.body(images), use_reentrant=self.reentrant)

    def score(self, maps):
        return self.head(maps.flatten(1))

    def training_step(self, batch, index):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        self.log("validated", F.cross_entropy(self(images), labels))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Probable(Reader):
    def forward(self, images):
        return F.softmax(super().forward(images), dim=1)  # MISTAKE: softmax in a module


class CheckpointedProbable(Reader):
    def score(self, maps):
        return super().score(maps).softmax(1)  # MISTAKE: softmax in what is checkpointed


class InHalves(Reader):
    def score(self, maps):
        return self.head(maps.view(-1, 32))  # MISTAKE: maps folded


class Given(Reader):
    """Calls a network that it is given."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(192, LABELS), nn.Sigmoid())  # BUILT: in a network

    def forward(self, images):
        return self.network(images)  # MISTAKE: in a network


class Deciding(Reader):
    def training_step(self, batch, index):
        images, labels = batch
        return F.cross_entropy(self(images).argmax(1), labels)  # MISTAKE: decided


def fitted(reader=Reader, images=Images, reentrant=None, **options):
    def program():
        module = reader() if reentrant is None else reader(reentrant=reentrant)
        options.setdefault("max_epochs", 1)
        options.setdefault("num_sanity_val_steps", 0)
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(module, datamodule=Loading(images))
        return module.losses

    return program


CHECKPOINTED = partial(fitted, CheckpointedProbable)
OF_LIGHTNING = {
    "softmax in a module": ("softmax-applied", "softmax", "Probable", partial(fitted, Probable)),
    "softmax in what is checkpointed": ("softmax-applied", "softmax", "CheckpointedProbable", CHECKPOINTED),
    "maps folded": ("features-folded-into-batch", "view", "InHalves", partial(fitted, partial(InHalves, 32))),
    "in a network": ("sigmoid-applied", "sigmoid", "network.2 (Sigmoid)", partial(fitted, Given)),
    "decided": ("class-ids-as-logits", "argmax", None, partial(fitted, Deciding)),
    "one-hot in a dataset": ("one-hot-target", "__setitem__", None, partial(fitted, images=OneHotImages)),
}

MISTAKES = OF_TRANSFORMERS | {"end of a head": END_OF_A_HEAD} | OF_LIGHTNING
WITH_OPTIONS = [
    ("softmax layer", {"bf16": True}),
    ("softmax layer", checkpointed(reentrant=True)),
    ("softmax layer", checkpointed(reentrant=False)),
    ("softmax", {"gradient_accumulation_steps": 2}),
    ("end of a head", {"bfloat16": True}),
    ("end of a head", {"reentrant": True}),
    ("softmax in a module", {"precision": "bf16-mixed"}),
    ("softmax in a module", {"fast_dev_run": True}),
    ("softmax in a module", {"num_sanity_val_steps": 1}),
    ("softmax in what is checkpointed", {"reentrant": True}),
]


def lines_of(file):
    """By its comment: the number of each line that has one which gives a name."""
    lines = enumerate(file.read_text().splitlines(), 1)
    return {
        found[1]: number for number, line in lines if (found := re.search(r"  # ((MISTAKE|BUILT): .+|CALLED)$", line))
    }


LINES = lines_of(Path(__file__))


def found_in(program):
    """What stops a program in strict mode, with a trail."""
    with safe_ce.guarded("strict"), safe_ce.trail(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(program)
    return caught.value.findings[0]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in MISTAKES), *WITH_OPTIONS])
def test_a_mistake_is_laid_at_the_line_that_made_it(name, options):
    cause, operation, module, program = MISTAKES[name]
    finding = found_in(program(**options))
    blame = finding.blame
    assert (finding.cause, blame.operation, blame.module) == (cause, operation, module)
    assert (blame.filename, blame.lineno) == (__file__, LINES[f"MISTAKE: {name}"])
    assert blame.source.endswith(f"# MISTAKE: {name}")
    built = LINES.get(f"BUILT: {name}")
    assert blame.built == (built and (__file__, built))


def replaced(end):
    """An existing model with a new head."""

    def built(config):
        model = OF_BERT(config)
        model.classifier = nn.Sequential(nn.Linear(HIDDEN, LABELS), end())  # BUILT: new head
        return model

    return built


@pytest.mark.parametrize(
    ("end", "cause"),
    [(SOFTMAX, "softmax-applied"), (nn.ReLU, "relu-applied"), (partial(nn.LogSoftmax, -1), "log-softmax-applied")],
)
@pytest.mark.parametrize("options", [{}, {"bf16": True}, checkpointed(reentrant=True)], ids=str)
def test_in_a_model_of_transformers_the_line_is_told_that_built_its_new_head(end, cause, options):
    finding = found_in(trained(replaced(end), **options))
    blame = finding.blame
    assert (finding.cause, blame.module) == (cause, f"classifier.1 ({type(end()).__name__})")
    assert (__file__, LINES["BUILT: new head"]) in (blame.built, (blame.filename, blame.lineno))


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_layer_of_what_accelerate_has_prepared_is_called_as_before(precision):
    blame = found_in(accelerated(SOFTMAX, precision=precision)).blame
    assert (blame.lineno, blame.module) == (LINES["MISTAKE: end of a head"], "head.1 (Softmax)")


def test_who_puts_samples_together_for_accelerate_is_to_blame():
    finding = found_in(accelerated(collate=in_a_column))
    assert (finding.cause, finding.blame.lineno) == ("target-extra-dim", LINES["MISTAKE: in a column"])


def test_a_function_of_the_model_s_own_is_told_with_the_line_that_called_it():
    assert found_in(trained(Normalising)).blame.called == (__file__, LINES["CALLED"])


def test_the_way_of_a_shape_is_along_the_program_s_lines():
    blame = found_in(trained(HALVES)).blame
    assert (blame.before, blame.after) == ((ROWS, LENGTH, HIDDEN), (ROWS * LENGTH // 2, 2 * HIDDEN))
    assert [step.operation for step in blame.steps] == ["layer_norm", "view", "dropout", "linear"]
    assert {step.filename for step in blame.steps} == {__file__}


SOUND = {
    "the Trainer": trained(),
    "the Trainer, in bfloat16": trained(bf16=True),
    "the Trainer, checkpointed": trained(**checkpointed(reentrant=False)),
    "the Trainer, checkpointed, reentrant": trained(**checkpointed(reentrant=True)),
    "the Trainer, a model of transformers": trained(TAGGER_OF_BERT, TaggedSentences),
    "a loop": looped(),
    "a loop, reentrant": looped(reentrant=True),
    "a loop, in bfloat16": looped(bfloat16=True),
    "accelerate": accelerated(),
    "accelerate, in bfloat16": accelerated(precision="bf16"),
    "Lightning": fitted(),
    "Lightning, reentrant": fitted(reentrant=True),
    "Lightning, in bfloat16": fitted(precision="bf16-mixed"),
}


@pytest.mark.parametrize("program", SOUND.values(), ids=SOUND)
def test_a_sound_program_is_untouched_by_a_trail_and_accused_of_nothing(program):
    plain = seeded(program)
    with safe_ce.guarded("strict"), safe_ce.trail():
        assert seeded(program) == plain
    assert len(plain) > 1


MODEL = """
from torch import nn
from torch.nn import functional as F
from transformers import BertModel, BertPreTrainedModel


class Classifier(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config)
        self.classifier = nn.Linear(32, config.num_labels)
        self.post_init()

    def forward(self, input_ids, labels=None):
        hidden = self.bert(input_ids).last_hidden_state
        logits = self.classifier(hidden.reshape(-1, 32))  # MISTAKE: features-folded-into-batch
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}
"""
TRAINING = """
import torch
from model import Classifier
from transformers import BertConfig, Trainer, TrainingArguments

sizes = dict(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
data = [{"input_ids": torch.randint(30, (8,)), "labels": number % 4} for number in range(12)]
arguments = TrainingArguments("out", max_steps=2, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True)
Trainer(model=Classifier(BertConfig(**sizes, num_labels=4)), args=arguments, train_dataset=data).train()
"""
FITTING = """
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Data(lightning.LightningDataModule):
    def setup(self, stage):
        labels = nn.functional.one_hot(torch.arange(12) % 4)  # MISTAKE: one-hot-target
        self.data = TensorDataset(torch.randn(12, 6), labels)

    def train_dataloader(self):
        return DataLoader(self.data, 4, shuffle=True)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def training_step(self, batch, index):
        rows, labels = batch
        return nn.functional.cross_entropy(self.layer(rows), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


lightning.Trainer(fast_dev_run=True, accelerator="cpu", enable_model_summary=False).fit(Module(), datamodule=Data())
"""


def run(folder, **files):
    """Runs a program of some files as it is: what it says, and what is said of it."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-m", "safe_ce", "run", "--json", "main.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )


@pytest.mark.parametrize(
    ("files", "file", "cause", "operation", "module"),
    [
        ({"main": TRAINING, "model": MODEL}, "model.py", "features-folded-into-batch", "reshape", "Classifier"),
        ({"main": FITTING}, "main.py", "one-hot-target", "one_hot", None),
    ],
    ids=["transformers", "Lightning"],
)
def test_a_program_that_is_run_as_it_is_hears_of_its_line_too(tmp_path, files, file, cause, operation, module):
    done = run(tmp_path, **files)
    [finding] = json.loads(done.stdout.splitlines()[-1])["findings"]
    blame = finding["blame"]
    assert (finding["cause"], blame["operation"], blame["module"]) == (cause, operation, module), done.stderr
    line = lines_of(tmp_path / file)[f"MISTAKE: {cause}"]
    assert (blame["filename"], blame["lineno"]) == (str(tmp_path / file), line)
    assert f"{file}:{line} in {blame['function']}" in done.stderr
