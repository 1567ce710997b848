"""Models of transformers that call the cross entropy in ways of their own, each with the loss that it brings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError
from tests.ecosystem.programs import seeded

transformers = pytest.importorskip("transformers")

BATCH, WORDS, LENGTH, LABELS = 4, 50, 8, 3
LAYERS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {**LAYERS, "vocab_size": WORDS, "max_position_embeddings": 32}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SPEECH = {
    **LAYERS,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 4,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_negatives": 5,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
FRAMES = 39


def build(name, **config):
    """What makes a model of a class, from a config of the class that goes with it."""
    model = getattr(transformers, name)
    return lambda: model(model.config_class(**config))


def gpt2(name, **config):
    return build(name, vocab_size=WORDS, n_positions=32, n_embd=16, n_layer=1, n_head=2, **SPECIAL, **config)


def clip():
    text, vision = {**TEXT, **SPECIAL}, {**LAYERS, "image_size": 16, "patch_size": 8}
    return build("CLIPModel", text_config=text, vision_config=vision, projection_dim=8)


def words(*shape):
    return torch.randint(5, WORDS, shape or (BATCH, LENGTH))


def images(rows=BATCH, side=16):
    return torch.randn(rows, 3, side, side)


def text():
    ids = words()
    return {"input_ids": ids, "labels": ids.clone()}


def classified():
    return {"input_ids": words(), "labels": torch.randint(LABELS, (BATCH,))}


def choice():
    ids = words(BATCH, 3, LENGTH)
    last = torch.full((BATCH, 3), LENGTH - 1)
    return {"input_ids": ids, "labels": ids, "mc_token_ids": last, "mc_labels": torch.randint(3, (BATCH,))}


def spans(highest=LENGTH):
    ends = {f"{end}_positions": torch.randint(highest, (BATCH,)) for end in ("start", "end")}
    return {"input_ids": words(), **ends}


def pairs(rows=BATCH):
    return {"input_ids": words(rows, LENGTH), "pixel_values": images(rows), "return_loss": True}


def masks(side):
    return torch.randint(LABELS, (BATCH, side, side))


def masked_speech():
    return {
        "input_values": torch.randn(2, 400),
        "mask_time_indices": torch.rand(2, FRAMES) < 0.4,
        "sampled_negative_indices": torch.randint(2 * FRAMES, (2, FRAMES, SPEECH["num_negatives"])),
    }


MODELS = {
    "two losses of two kinds in a step": (gpt2("GPT2DoubleHeadsModel", num_labels=1), choice),
    "the loss at a sequence's last word": (
        gpt2("GPT2ForSequenceClassification", num_labels=LABELS),
        classified,
    ),
    "positions as classes, those beyond the text ignored": (gpt2("GPT2ForQuestionAnswering"), lambda: spans(LENGTH + 4)),
    "the same, by a loss object built in the call": (build("BertForQuestionAnswering", **TEXT), spans),
    "a router's own loss beside it": (
        build("MixtralForCausalLM", **TEXT, num_key_value_heads=2, num_local_experts=2, output_router_logits=True),
        text,
    ),
    "few words of many": (
        build("BertForMaskedLM", **TEXT),
        lambda: {"input_ids": words(), "labels": torch.where(torch.rand(BATCH, LENGTH) < 0.3, words(), -100)},
    ),
    "two classes": (
        build("BertForPreTraining", **TEXT),
        lambda: {**text(), "next_sentence_label": torch.randint(2, (BATCH,))},
    ),
    "choices as classes": (
        build("BertForMultipleChoice", **TEXT),
        lambda: {"input_ids": words(BATCH, 3, LENGTH), "labels": torch.randint(3, (BATCH,))},
    ),
    "an encoder and a decoder": (
        build("T5ForConditionalGeneration", vocab_size=WORDS, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
              decoder_start_token_id=0),
        text,
    ),
    "images": (
        build("ViTForImageClassification", **LAYERS, image_size=16, patch_size=8, num_labels=LABELS),
        lambda: {"pixel_values": images(), "labels": torch.randint(LABELS, (BATCH,))},
    ),
    "each other as classes, and the logits transposed": (clip(), pairs),
    "a class for each pixel, 255 ignored": (
        build("SegformerForSemanticSegmentation", num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1],
              hidden_sizes=[8, 16], patch_sizes=[3, 3], strides=[2, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
              decoder_hidden_size=16, num_labels=LABELS),
        lambda: {"pixel_values": images(), "labels": torch.where(torch.rand(BATCH, 16, 16) < 0.2, 255, masks(16))},
    ),
    "negatives that are the positive at minus infinity, summed": (
        build("Wav2Vec2ForPreTraining", **SPEECH),
        masked_speech,
    ),
}  # fmt: skip


def losses(model, batch, steps=3):
    def program():
        learner = model()
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
        seen = []
        for _ in range(steps):
            loss = learner(**batch()).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return seen

    return program


@pytest.mark.parametrize(("model", "batch"), MODELS.values(), ids=MODELS)
def test_a_model_s_own_loss_is_untouched(guarded, model, batch):
    program = losses(model, batch)
    assert guarded(program) == seeded(program)


def test_positions_that_all_lie_beyond_the_text_are_told_of():
    program = losses(
        build("BertForQuestionAnswering", **TEXT), lambda: {**spans(), "end_positions": torch.full((BATCH,), 99)}
    )
    with safe_ce.guarded("strict"), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(program)
    assert caught.value.cause == "all-targets-ignored"


def compiled(model, backend):
    return lambda: torch.compile(model(), backend=backend)


def llama():
    return build("LlamaForCausalLM", **TEXT, **SPECIAL, num_key_value_heads=2)()


def softmaxed():
    model = llama()
    model.lm_head = nn.Sequential(model.lm_head, nn.Softmax(-1))
    return model


backends = pytest.mark.parametrize("backend", ["eager", "aot_eager"])


@backends
def test_so_it_is_where_the_model_is_compiled(guarded, backend):
    program = losses(compiled(llama, backend), text)
    assert guarded(program) == seeded(program)


@backends
def test_so_it_is_where_the_loss_is_built_in_what_is_compiled(backend):
    """Such a loss is native's alone, and it is not known which calls of it are guarded."""
    program = losses(compiled(build("BertForSequenceClassification", **TEXT, num_labels=LABELS), backend), classified)
    plain = seeded(program)
    with safe_ce.guarded("strict"):
        assert seeded(program) == plain


@backends
def test_a_compiled_model_that_ends_in_softmax_is_found(backend):
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(losses(compiled(softmaxed, backend), text))
    assert caught.value.cause == "softmax-applied"


def test_a_last_batch_of_one_pair_stops_no_contrastive_training():
    sizes = iter([4, 4, 1])
    program = losses(clip(), lambda: pairs(next(sizes)))
    with safe_ce.guarded():
        assert seeded(program)[-1] == 0
