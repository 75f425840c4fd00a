import torch

from sacbnet.ops.kmeans import KMeans, kmeans
from sacbnet.ops.membership import memberships


def case(b=2, p=40, d=3, n=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(b, p, d, generator=g, dtype=dtype)
    return x, kmeans(x, n)


def test_equals_the_equation():
    x, found = case()
    m, centres = memberships(x, found, torch.tensor(0.7, dtype=x.dtype))
    for s in range(2):
        squared = torch.cdist(x[s], found.centres[s]).square()
        scale = squared[range(40), found.labels[s]].mean()
        expected = torch.softmax(-squared / (0.7 * scale), 1)
        torch.testing.assert_close(m[s], expected)
        for n in range(4):
            mean = (expected[:, n, None] * x[s]).sum(0) / expected[:, n].sum()
            torch.testing.assert_close(centres[s, n], mean)


def test_tends_to_k_means():
    x, found = case()
    m, centres = memberships(x, found, torch.tensor(1e-5, dtype=x.dtype))
    assert torch.equal(m.argmax(2), found.labels)
    assert (m.max(2).values > 0.99).all()
    torch.testing.assert_close(centres, found.centres, atol=1e-3, rtol=0)


def test_hot_enough_all_belong_to_all():
    x, found = case()
    m, centres = memberships(x, found, torch.tensor(1e9, dtype=x.dtype))
    torch.testing.assert_close(m, torch.full_like(m, 0.25))
    torch.testing.assert_close(
        centres, x.mean(1, keepdim=True).expand_as(centres), atol=1e-6, rtol=0
    )


def test_a_scale_of_the_features_changes_no_membership():
    x, found = case()
    scaled = KMeans(found.labels, 100 * found.centres, found.rounds)
    t = torch.tensor(0.5, dtype=x.dtype)
    torch.testing.assert_close(memberships(x, found, t)[0], memberships(100 * x, scaled, t)[0])


def test_a_cluster_without_voxels_has_no_members():
    x, found = case()
    labels = found.labels.clamp(max=2)
    m, centres = memberships(
        x, KMeans(labels, found.centres, found.rounds), torch.tensor(0.5, dtype=x.dtype)
    )
    assert not m[..., 3].any()
    assert not centres[:, 3].any()
    torch.testing.assert_close(m.sum(2), torch.ones_like(m[..., 0]))


def test_features_all_alike():
    x = torch.full((1, 30, 2), 3.0)
    m, centres = memberships(x, kmeans(x, 3), torch.tensor(0.5))
    assert torch.isfinite(m).all() and torch.isfinite(centres).all()


def test_gradients():
    x, found = case(b=1, p=8, d=2, n=3)
    scale = torch.tensor(0.5, dtype=x.dtype, requires_grad=True)
    x = x.requires_grad_()
    # s² gives no gradient: with the labels given, hold it by scaling the temperature
    squared = (x.detach()[:, :, None] - found.centres[:, None]).square().sum(3)
    s2 = squared.gather(2, found.labels[..., None]).mean()

    def held(x, t):
        now = (x.detach()[:, :, None] - found.centres[:, None]).square().sum(3)
        drift = now.gather(2, found.labels[..., None]).mean() / s2
        return memberships(x, found, t / drift)

    assert torch.autograd.gradcheck(held, (x, scale))
