"""Trains a policy by REINFORCE to balance on a line: the log-likelihood of each action, times its return."""

import torch
import torch.nn.functional as F
from torch import nn

EPISODES, STEPS, DISCOUNT = 32, 20, 0.95


class Line:
    """Pushes to the left and right against a wind; an episode ends off the line."""

    def __init__(self, episodes):
        self.place = torch.zeros(episodes)
        self.wind = 0.3 * torch.randn(episodes)

    def observe(self):
        return torch.stack([self.place, self.wind], dim=1)

    def act(self, actions):
        self.place = self.place + 0.5 * (actions - 1) + self.wind + 0.1 * torch.randn_like(self.place)
        return (self.place.abs() < 2).float()


@torch.no_grad()
def rollout(policy):
    line = Line(EPISODES)
    alive = torch.ones(EPISODES)
    seen, done, earned, counted = [], [], [], []
    for _ in range(STEPS):
        observation = line.observe()
        actions = torch.multinomial(policy(observation).softmax(dim=-1), 1).squeeze(1)
        seen.append(observation)
        done.append(actions)
        counted.append(alive)
        alive = alive * line.act(actions)
        earned.append(alive)
    return torch.stack(seen), torch.stack(done), torch.stack(earned), torch.stack(counted)


def returns_of(rewards):
    returns, ahead = torch.zeros_like(rewards), torch.zeros(EPISODES)
    for step in reversed(range(STEPS)):
        ahead = rewards[step] + DISCOUNT * ahead
        returns[step] = ahead
    return (returns - returns.mean()) / (returns.std() + 1e-8)


def update(policy, optimizer, rounds=2):
    observations, actions, rewards, counted = rollout(policy)
    returns = returns_of(rewards)
    taken = counted.bool()
    for _ in range(rounds):
        surprise = F.cross_entropy(policy(observations[taken]), actions[taken], reduction="none")
        loss = (surprise * returns[taken]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rewards.sum(0).mean().item()


torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
for iteration in range(1, 41):
    steps = update(policy, optimizer)
    if iteration % 10 == 1:
        print(f"iteration {iteration}: {steps:.1f} steps on the line")
