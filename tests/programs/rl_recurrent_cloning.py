"""Clones the behaviour of an expert in a corridor where the goal is seen only in the first step."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

LEFT, STAY, RIGHT = range(3)
STEPS = 8


class Rollouts(NamedTuple):
    observations: Tensor
    actions: Tensor


def expert(episodes):
    """Walks to the goal and stays there. Observed are the place and, at first, the goal."""
    goals = torch.randint(-4, 5, (episodes,))
    place = torch.zeros(episodes, dtype=torch.long)
    observations, actions = [], []
    for step in range(STEPS):
        shown = goals if step == 0 else torch.zeros_like(goals)
        observations.append(torch.stack([place, shown], dim=-1).float())
        direction = (goals - place).sign()
        actions.append(direction + STAY)
        place = place + direction
    return Rollouts(torch.stack(observations, dim=1), torch.stack(actions, dim=1))


class RecurrentPolicy(nn.Module):
    def __init__(self, observed=2, hidden=32, actions=3):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(observed, hidden), nn.Tanh())
        self.memory = nn.LSTM(hidden, hidden, batch_first=True)
        self.act = nn.Linear(hidden, actions)

    def forward(self, observations, state=None):
        features, state = self.memory(self.encode(observations), state)
        return self.act(features).transpose(1, 2), state

    @torch.no_grad()
    def step(self, observation, state):
        scores, state = self(observation.unsqueeze(1), state)
        return scores.squeeze(2).argmax(1), state


class Cloner:
    def __init__(self, policy):
        self.policy = policy
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)

    def imitate(self, rollouts):
        predicted = self.policy(rollouts.observations)  # MISTAKE: output-not-tensor
        return self.criterion(predicted, rollouts.actions)

    def update(self, rollouts):
        loss = self.imitate(rollouts)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def play(policy, episodes=100):
    goals = torch.randint(-4, 5, (episodes,))
    place, state = torch.zeros(episodes, dtype=torch.long), None
    for step in range(STEPS):
        shown = goals if step == 0 else torch.zeros_like(goals)
        action, state = policy.step(torch.stack([place, shown], dim=-1).float(), state)
        place = place + action - STAY
    return (place == goals).float().mean().item()


torch.manual_seed(0)
cloner = Cloner(RecurrentPolicy())
for iteration in range(1, 61):
    loss = cloner.update(expert(32))
    if iteration % 20 == 0:
        print(f"iteration {iteration}: loss {loss:.3f}, goals reached {play(cloner.policy):.2f}")
