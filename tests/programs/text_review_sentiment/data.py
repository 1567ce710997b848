"""Made-up reviews: each mood has words of its own among many neutral ones."""

import random

import torch
from torch.utils.data import TensorDataset

MOODS = {
    "bad": ["dull", "broken", "awful"],
    "fair": ["decent", "plain", "usual"],
    "good": ["lovely", "crisp", "superb"],
}
NEUTRAL = ["the", "plot", "cast", "was", "and", "screen", "sound", "a", "bit", "very"]
WORDS = ["<pad>", *NEUTRAL, *(word for words in MOODS.values() for word in words)]
LENGTH = 14


def review(mood):
    words = random.choices(NEUTRAL, k=random.randint(6, 11)) + random.choices(MOODS[mood], k=2)
    random.shuffle(words)
    return words


def encode(words):
    ids = [WORDS.index(word) for word in words]
    return ids + [0] * (LENGTH - len(ids))


def reviews(count):
    moods = random.choices(range(len(MOODS)), k=count)
    names = list(MOODS)
    return TensorDataset(torch.tensor([encode(review(names[mood])) for mood in moods]), torch.tensor(moods))
