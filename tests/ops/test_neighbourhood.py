import torch
import torch.nn.functional as F

from sacbnet.ops.neighbourhood import neighbourhood_mean


def test_equals_a_padded_mean():
    z = torch.randn(2, 3, 4, 5, 6)
    expected = F.avg_pool3d(F.pad(z, (1,) * 6), 3, stride=1)
    torch.testing.assert_close(neighbourhood_mean(z), expected)
    torch.testing.assert_close(neighbourhood_mean(z.double()), expected.double())


def test_gradients_of_both_forms():
    z = torch.randn(1, 2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(neighbourhood_mean, (z,))
    narrow = z.detach().float().requires_grad_()
    g = torch.randn(1, 2, 3, 2, 4)
    (of_narrow,) = torch.autograd.grad(neighbourhood_mean(narrow), narrow, g)
    (of_wide,) = torch.autograd.grad(neighbourhood_mean(z), z, g.double())
    torch.testing.assert_close(of_narrow.double(), of_wide, atol=1e-6, rtol=1e-5)
