"""Masked language modelling of synthetic protein strings with a TransformerEncoder."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

ALPHABET = "ACDEFGHIKLMNPQRSTV"
PAD, MASK = 0, 1
VOCAB = len(ALPHABET) + 2
MAX_LEN = 20
IGNORE = -100


class Proteins(Dataset):
    def __init__(self, n):
        self.seqs = []
        g = torch.Generator().manual_seed(9)
        for _ in range(n):
            length = int(torch.randint(12, MAX_LEN + 1, (1,), generator=g))
            start = int(torch.randint(len(ALPHABET), (1,), generator=g))
            self.seqs.append((start + torch.arange(length)) % len(ALPHABET) + 2)

    def __len__(self):
        return len(self.seqs)

    def __getitem__(self, i):
        seq = self.seqs[i]
        hide = torch.rand(len(seq)) < 0.15
        hide[torch.randint(len(seq), (1,))] = True
        ids = torch.full((MAX_LEN,), PAD)
        labels = torch.full((MAX_LEN,), IGNORE)
        ids[: len(seq)] = torch.where(hide, torch.tensor(MASK), seq)
        labels[: len(seq)][hide] = seq[hide]
        return {"input_ids": ids, "labels": labels}


class MaskedLM(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, dim, padding_idx=PAD)
        self.pos = nn.Parameter(0.1 * torch.randn(MAX_LEN, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, VOCAB)
        self.loss_fn = nn.CrossEntropyLoss(ignore_index=IGNORE)

    def forward(self, input_ids, labels=None):
        h = self.encoder(self.tok(input_ids) + self.pos, src_key_padding_mask=input_ids == PAD)
        logits = self.head(h)
        loss = None
        if labels is not None:
            loss = self.loss_fn(logits.transpose(1, 2), labels)
        return {"logits": logits, "loss": loss}


def main():
    torch.manual_seed(0)
    loader = DataLoader(Proteins(129), batch_size=16, shuffle=True)
    model = MaskedLM()
    opt = torch.optim.AdamW(model.parameters(), lr=5e-3)
    accumulation_steps = 2
    for epoch in range(8):
        running = 0.0
        for i, batch in enumerate(loader):
            loss = model(**batch)["loss"] / accumulation_steps
            loss.backward()
            running += loss.item() * accumulation_steps
            if (i + 1) % accumulation_steps == 0 or i + 1 == len(loader):
                opt.step()
                opt.zero_grad()
        print(f"epoch {epoch}: {running / len(loader):.4f}")

    model.eval()
    with torch.no_grad():
        batch = next(iter(loader))
        log_probs = model(batch["input_ids"])["logits"].log_softmax(-1)
        known = batch["labels"] != IGNORE
        hits = (log_probs.argmax(-1) == batch["labels"])[known]
        print(f"masked accuracy {hits.float().mean():.3f}")


if __name__ == "__main__":
    main()
