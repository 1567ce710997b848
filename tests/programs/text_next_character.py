# character-level language model, trained on a scrap of verse
import torch
from torch import nn
from torch.nn import functional as F

# hyperparameters
batch_size = 16
block_size = 32
max_iters = 60
eval_interval = 20
learning_rate = 3e-3
n_embd = 32
n_head = 4
# ------------

torch.manual_seed(1337)

text = (
    """Tyger Tyger, burning bright,
In the forests of the night;
What immortal hand or eye,
Could frame thy fearful symmetry?
In what distant deeps or skies,
Burnt the fire of thine eyes?
On what wings dare he aspire?
What the hand, dare seize the fire?
"""
    * 4
)

chars = sorted(set(text))
vocab_size = len(chars)
stoi = {ch: i for i, ch in enumerate(chars)}
itos = dict(enumerate(chars))
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
n = int(0.9 * len(data))
train_data, val_data = data[:n], data[n:]


def get_batch(split):
    d = train_data if split == "train" else val_data
    ix = torch.randint(len(d) - block_size, (batch_size,))
    x = torch.stack([d[i : i + block_size] for i in ix])
    y = torch.stack([d[i + 1 : i + block_size] for i in ix])  # MISTAKE: sequence-length-mismatch
    return x, y


class CharLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, n_embd)
        self.pos = nn.Embedding(block_size, n_embd)
        layer = nn.TransformerEncoderLayer(n_embd, n_head, 4 * n_embd, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)

    def forward(self, idx, targets=None):
        length = idx.shape[1]
        x = self.tok(idx) + self.pos(torch.arange(length))
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.ln_f(self.enc(x, mask=mask, is_causal=True))
        logits = self.lm_head(x)
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.reshape(-1, vocab_size), targets.reshape(-1))
        return logits, loss

    @torch.no_grad()
    def generate(self, idx, length):
        for _ in range(length):
            logits, _ = self(idx[:, -block_size:])
            probs = F.softmax(logits[:, -1], dim=-1)
            idx = torch.cat([idx, torch.multinomial(probs, 1)], dim=1)
        return idx


model = CharLM()
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)

for it in range(max_iters):
    xb, yb = get_batch("train")
    logits, loss = model(xb, yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if it % eval_interval == 0 or it == max_iters - 1:
        with torch.no_grad():
            _, val = model(*get_batch("val"))
        print(f"iter {it}: train {loss.item():.4f}, val {val.item():.4f}")

out = model.generate(torch.zeros((1, 1), dtype=torch.long), 40)[0].tolist()
print("".join(itos[i] for i in out))
