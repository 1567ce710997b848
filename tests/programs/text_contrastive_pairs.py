"""Trains two encoders to match questions with their answers, each against the others of its batch."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SUBJECTS, QUESTION_WORDS, ANSWER_WORDS = 40, 60, 70


def pairs(count):
    """Question and answer share a subject, which each side has its own word for."""
    subjects = torch.randint(SUBJECTS, (count, 1))
    questions = torch.cat([subjects, torch.randint(SUBJECTS, QUESTION_WORDS, (count, 4))], dim=1)
    answers = torch.cat([subjects, torch.randint(SUBJECTS, ANSWER_WORDS, (count, 7))], dim=1)
    return TensorDataset(questions, answers)


class TwoTowers(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.questions = nn.EmbeddingBag(QUESTION_WORDS, width)
        self.answers = nn.EmbeddingBag(ANSWER_WORDS, width)
        self.project = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, questions, answers):
        asked = F.normalize(self.project(self.questions(questions)), dim=-1)
        answered = F.normalize(self.project(self.answers(answers)), dim=-1)
        return self.log_scale.exp() * asked @ answered.T


def contrastive_loss(similarities):
    matches = torch.arange(similarities.size(0))
    return (F.cross_entropy(similarities, matches) + F.cross_entropy(similarities.T, matches)) / 2


def main():
    torch.manual_seed(0)
    loader = DataLoader(pairs(321), batch_size=32, shuffle=True)
    model = TwoTowers()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(4):
        total = 0.0
        for questions, answers in loader:
            loss = contrastive_loss(model(questions, answers))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / len(loader):.3f}")


if __name__ == "__main__":
    main()
