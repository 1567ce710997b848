"""Distils a wide network into a narrow one, with the teacher's softened probabilities as targets."""

import torch
import torch.nn.functional as F
from torch import nn


def network(width, num_classes=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )


def soft_cross_entropy(scores, probabilities, temperature):
    return F.cross_entropy(scores, probabilities) * temperature**2


class Distiller:
    def __init__(self, teacher, student, temperature=4.0, alpha=0.7):
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.student = student
        self.temperature = temperature
        self.alpha = alpha

    def soft_loss(self, images, student_scores):
        teacher_scores = self.teacher(images)
        targets = (teacher_scores / self.temperature).softmax(dim=1)
        softened = student_scores / self.temperature
        return soft_cross_entropy(targets, softened, self.temperature)  # MISTAKE: arguments-swapped

    def loss(self, images, labels):
        scores = self.student(images)
        hard = F.cross_entropy(scores, labels)
        return self.alpha * self.soft_loss(images, scores) + (1 - self.alpha) * hard


def main():
    torch.manual_seed(2)
    distiller = Distiller(network(32), network(8))
    optimizer = torch.optim.SGD(distiller.student.parameters(), lr=0.02, momentum=0.9)
    tints = torch.randn(8, 3, 1, 1)
    for step in range(12):
        labels = torch.randint(8, (16,))
        images = tints[labels] + torch.randn(16, 3, 16, 16)
        loss = distiller.loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"{step:3d} {loss.item():10.4f}")


if __name__ == "__main__":
    main()
