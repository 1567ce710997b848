"""Reads an annotation list of pet breeds and trains a classifier of them."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

ANNOTATIONS = """\
#Image CLASS-ID SPECIES BREED-ID
Abyssinian_100 1 1 1
american_bulldog_101 2 2 1
beagle_102 3 2 2
Bengal_103 4 1 2
boxer_104 5 2 3
chihuahua_105 6 2 4
"""


def read_annotations(text):
    entries = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        image, class_id, _species, _breed = line.split()
        entries.append((image, int(class_id)))  # MISTAKE: labels-start-at-one (where no trail sees it)
    return entries


class Pets(Dataset):
    def __init__(self, entries, copies):
        self.entries = entries * copies
        generator = torch.Generator().manual_seed(0)
        self.coats = {name: torch.rand(3, 1, 1, generator=generator) for name, _ in entries}

    @property
    def num_classes(self):
        return len({label for _, label in self.entries})

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        name, label = self.entries[index]
        return self.coats[name] + 0.1 * torch.randn(3, 16, 16), label


def main():
    torch.manual_seed(0)
    pets = Pets(read_annotations(ANNOTATIONS), copies=16)
    loader = DataLoader(pets, batch_size=12, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, pets.num_classes),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(3):
        correct = 0
        for images, labels in loader:
            scores = model(images)
            loss = criterion(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            correct += int((scores.argmax(1) == labels).sum())
        print(f"epoch {epoch}: {correct}/{len(pets)} correct")


if __name__ == "__main__":
    main()
