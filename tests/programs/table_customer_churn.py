"""Trains a network on a table of customers to predict who leaves."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

PLANS = 4


def customers(count):
    months = torch.randint(1, 60, (count, 1)).float()
    bill = 20 + 80 * torch.rand(count, 1)
    calls = torch.poisson(torch.full((count, 1), 2.0))
    plan = torch.randint(PLANS, (count,))
    leaning = 0.8 * calls - 0.08 * months + 0.01 * bill + 0.5 * (plan == 0).float()[:, None]
    left = (torch.rand(count, 1) < leaning.sigmoid()).float()
    return TensorDataset(torch.cat([months / 60, bill / 100, calls / 5], dim=1), plan, left)


class ChurnNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.plan = nn.Embedding(PLANS, 3)
        self.layers = nn.Sequential(
            nn.Linear(6, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, 1),
        )

    def forward(self, numbers, plan):
        return self.layers(torch.cat([numbers, self.plan(plan)], dim=1)).squeeze(1)


def run_epoch(model, loader, criterion, optimizer=None):
    model.train(optimizer is not None)
    losses, right, seen = [], 0, 0
    for numbers, plan, left in loader:
        labels = left.squeeze(1)
        scores = model(numbers, plan)
        loss = criterion(scores, labels)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        right += ((scores > 0) == labels.bool()).sum().item()
        seen += len(labels)
    return sum(losses) / len(losses), right / seen


torch.manual_seed(0)
training, validation = random_split(customers(600), [500, 100])
train_loader = DataLoader(training, batch_size=50, shuffle=True)
valid_loader = DataLoader(validation, batch_size=50)

model = ChurnNet()
criterion = nn.CrossEntropyLoss()  # MISTAKE: binary-logits
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(4):
    train_loss, _ = run_epoch(model, train_loader, criterion, optimizer)
    valid_loss, accuracy = run_epoch(model, valid_loader, criterion)
    print(f"epoch {epoch}: train {train_loss:.3f}, valid {valid_loss:.3f}, accuracy {accuracy:.2f}")
