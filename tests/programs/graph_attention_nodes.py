"""Graph attention over a citation graph of which few nodes have a label."""

# Semi-supervised node classification with a small graph attention network.
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(2)
n_nodes, n_feats, n_classes = 120, 16, 4

communities = torch.arange(n_nodes) % n_classes
same = communities[:, None] == communities[None, :]
adj = torch.rand(n_nodes, n_nodes) < torch.where(same, 0.15, 0.02)
adj = adj | adj.t() | torch.eye(n_nodes, dtype=torch.bool)
x = F.one_hot(communities, n_feats).float() * 0.5 + torch.randn(n_nodes, n_feats)

perm = torch.randperm(n_nodes)
train_idx, val_idx = perm[:24], perm[24:]
y_train = torch.full((n_nodes,), -100)
y_train[train_idx] = communities[train_idx]


class GATLayer(nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.w = nn.Linear(d_in, d_out, bias=False)
        self.a_src = nn.Linear(d_out, 1, bias=False)
        self.a_dst = nn.Linear(d_out, 1, bias=False)

    def forward(self, h, adj):
        h = self.w(h)
        e = F.leaky_relu(self.a_dst(h) + self.a_src(h).t(), 0.2)
        alpha = F.softmax(e.masked_fill(~adj, -1e9), dim=1)
        alpha = F.dropout(alpha, 0.2, self.training)
        return alpha @ h


class GAT(nn.Module):
    def __init__(self):
        super().__init__()
        self.g1 = GATLayer(n_feats, 24)
        self.g2 = GATLayer(24, n_classes)

    def forward(self, x, adj):
        out = self.g2(F.elu(self.g1(x, adj)), adj)
        if self.training:
            return out
        return F.log_softmax(out, dim=1)


model = GAT()
opt = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
for epoch in range(60):
    model.train()
    opt.zero_grad()
    loss = F.cross_entropy(model(x, adj), y_train)
    loss.backward()
    opt.step()
    if epoch % 20 == 0:
        model.eval()
        with torch.no_grad():
            logp = model(x, adj)
            val_loss = F.nll_loss(logp[val_idx], communities[val_idx])
            acc = (logp[val_idx].argmax(1) == communities[val_idx]).float().mean()
        print(f"{epoch:3d} train {loss.item():.3f} val {val_loss.item():.3f} acc {acc.item():.3f}")
