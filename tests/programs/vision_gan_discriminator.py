"""Trains a generator and a discriminator of small images against each other."""

import torch
from torch import nn

latent_dim, img_shape, batch_size, n_batches = 16, (1, 12, 12), 16, 20
img_size = 12 * 12


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(in_feat, out_feat, *, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(
            *block(latent_dim, 32, normalize=False),
            *block(32, 64),
            nn.Linear(64, img_size),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.model(z).view(z.size(0), *img_shape)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(img_size, 64),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(64, 32),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(32, 1),
        )

    def forward(self, img):
        return self.model(img.view(img.size(0), -1))


torch.manual_seed(0)
generator = Generator()
discriminator = Discriminator()
adversarial_loss = nn.CrossEntropyLoss()  # MISTAKE: single-logit
optimizer_g = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))

grid = torch.linspace(-1, 1, 12)
for i in range(n_batches):
    centres = torch.rand(batch_size, 1, 1, 1) - 0.5
    real_imgs = torch.cos(3 * (grid.view(1, 1, 1, -1) - centres)).repeat(1, 1, 12, 1)
    valid = torch.ones(batch_size, 1)
    fake = torch.zeros(batch_size, 1)

    # Train the generator
    optimizer_g.zero_grad()
    z = torch.randn(batch_size, latent_dim)
    gen_imgs = generator(z)
    g_loss = adversarial_loss(discriminator(gen_imgs), valid)
    g_loss.backward()
    optimizer_g.step()

    # Train the discriminator
    optimizer_d.zero_grad()
    real_loss = adversarial_loss(discriminator(real_imgs), valid)
    fake_loss = adversarial_loss(discriminator(gen_imgs.detach()), fake)
    d_loss = (real_loss + fake_loss) / 2
    d_loss.backward()
    optimizer_d.step()

    print(f"[Batch {i}/{n_batches}] [D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}]")
