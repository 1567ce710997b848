"""Trains a convolutional network on made-up digits, and reports the loss of a test set after each epoch."""

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(16 * 5 * 5, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        x = self.fc2(x)
        output = F.log_softmax(x.double(), dim=1)  # MISTAKE: log-softmax-applied
        return output.clamp(min=-60.0).float()


def digits(count, patterns):
    labels = torch.randint(10, (count,))
    return TensorDataset(patterns[labels] + 0.5 * torch.randn(count, 1, 14, 14), labels)


def train(model, device, train_loader, optimizer, criterion, epoch):
    model.train()
    for batch_idx, batch in enumerate(train_loader):
        data, target = (tensor.to(device) for tensor in batch)
        optimizer.zero_grad()
        output = model(data)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        if batch_idx % 4 == 0:
            print(
                f"Train Epoch: {epoch} [{batch_idx * len(data)}/{len(train_loader.dataset)}]\tLoss: {loss.item():.4f}"
            )


def test(model, device, test_loader, criterion):
    model.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for batch in test_loader:
            data, target = (tensor.to(device) for tensor in batch)
            output = model(data)
            test_loss += criterion(output, target).item() * len(data)
            correct += output.argmax(dim=1, keepdim=True).eq(target.view(-1, 1)).sum().item()
    total = len(test_loader.dataset)
    print(f"Test set: Average loss: {test_loss / total:.4f}, Accuracy: {correct}/{total}")


def main():
    torch.manual_seed(1)
    device = torch.device("cpu")
    patterns = torch.randn(10, 1, 14, 14)
    train_loader = DataLoader(digits(192, patterns), batch_size=16, shuffle=True)
    test_loader = DataLoader(digits(64, patterns), batch_size=32)
    model = Net().to(device)
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, 4):
        train(model, device, train_loader, optimizer, criterion, epoch)
        test(model, device, test_loader, criterion)
        scheduler.step()


if __name__ == "__main__":
    main()
