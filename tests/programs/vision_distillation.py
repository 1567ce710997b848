"""Distils a trained teacher into a student, by its softened probabilities and by the labels."""

import torch
from torch import nn
from torch.nn import functional as F


class ConvNet(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.fc(x.mean(dim=(2, 3)))


class DistillationLoss(nn.Module):
    """The student's cross entropy to labels and, at a higher temperature, to the teacher's softmax."""

    def __init__(self, teacher, temperature, alpha):
        super().__init__()
        self.teacher = teacher
        self.temperature = temperature
        self.alpha = alpha
        self.base = nn.CrossEntropyLoss()
        self.soft = nn.CrossEntropyLoss()

    def forward(self, images, student_logits, labels):
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        teacher_probs = F.softmax(teacher_logits / self.temperature, dim=1)
        soft = self.soft(student_logits / self.temperature, teacher_probs) * self.temperature**2
        return self.alpha * soft + (1 - self.alpha) * self.base(student_logits, labels)


def batches(tints, count, size=16):
    for _ in range(count):
        labels = torch.randint(len(tints), (size,))
        yield tints[labels] + torch.randn(size, 3, 16, 16), labels


def train(model, loss_of, data, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step, (images, labels) in enumerate(data):
        loss = loss_of(images, model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"  {step:3d} {loss.item():.4f}")


def main():
    torch.manual_seed(0)
    tints = torch.randn(6, 3, 1, 1)
    teacher, student = ConvNet(24, 6), ConvNet(6, 6)
    print("teacher")
    train(teacher, lambda _, logits, labels: F.cross_entropy(logits, labels), batches(tints, 40), lr=0.01)
    teacher.eval()
    print("student")
    train(student, DistillationLoss(teacher, temperature=3.0, alpha=0.5), batches(tints, 40), lr=0.01)


if __name__ == "__main__":
    main()
