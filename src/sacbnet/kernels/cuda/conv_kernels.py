"""The programs of the adaptive convolution: its output, its mirror image, and the gradients.

Volumes are given with (sample, channel, voxel) strides. Labels (b, voxels), tap weights (b, n, 27)
and biases (b, n, c_out) are contiguous. The kernel is (27, c, c_out). Where tap weights are
PER_VOXEL, they are (b, 27, voxels), n is the number of voxels, and labels are not read.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .layout import faces, rows, step


@triton.jit
def at_voxels(taps_ptr, t, voxels, v, inside):  # type: ignore[no-untyped-def]
    """Tap weights (block,) in float32 of tap t at voxels v, from (27, voxels) of one sample.

    Offsets have 64 bits.
    """
    return tl.load(taps_ptr + tl.cast(t, tl.int64) * voxels + v, mask=inside, other=0.0).to(
        tl.float32
    )


@triton.jit
def conv_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    labels_ptr,
    taps_ptr,
    weights_ptr,
    bias_ptr,
    y_ptr,
    size_i,
    size_j,
    size_k,
    n,
    c_in,
    c_out,
    x_b,
    x_c,
    x_v,
    y_b,
    y_c,
    y_v,
    MIRROR: tl.constexpr,
    PER_VOXEL: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_IN: tl.constexpr,
    TILE_OUT: tl.constexpr,
    TILES_IN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: BLOCK voxels of one sample × TILE_OUT output channels.

    The grid is (voxel blocks, samples × output tiles).
    """
    voxels = size_i * size_j * size_k
    tiles_out = tl.cdiv(c_out, TILE_OUT)
    sample = (tl.program_id(1) // tiles_out).to(tl.int64)
    x_ptr += sample * x_b
    y_ptr += sample * y_b
    labels_ptr += sample * voxels
    taps_ptr += sample * n * 27
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    out = tl.program_id(1) % tiles_out * TILE_OUT + tl.arange(0, TILE_OUT)
    label = 0 if PER_VOXEL else tl.load(labels_ptr + v, mask=v < voxels, other=0)
    touched = faces(v, size_i, size_j, size_k)
    total = tl.zeros((BLOCK, TILE_OUT), tl.float32)
    # one loop instead of two: the compiler overlaps only the loads of the innermost loop
    for turn in range(27 * TILES_IN):
        t = turn // TILES_IN
        channel = turn % TILES_IN * TILE_IN + tl.arange(0, TILE_IN)
        shift, crossed = step(t, size_j, size_k, -1 if MIRROR else 1)
        inside = (touched & crossed) == 0
        if PER_VOXEL:
            scale = at_voxels(taps_ptr, t, voxels, v + shift if MIRROR else v, inside)
        else:
            if MIRROR:
                label = tl.load(labels_ptr + v + shift, mask=inside, other=0)
            scale = tl.load(taps_ptr + label * 27 + t).to(tl.float32)
        x = rows(x_ptr, v + shift, inside, channel, c_in, x_c, x_v)
        weights = tl.load(
            weights_ptr + (t * c_in + channel)[:, None] * c_out + out[None, :],
            mask=(channel < c_in)[:, None] & (out < c_out)[None, :],
            other=0.0,
        )
        x = (x.to(tl.float32) * scale[:, None]).to(weights.dtype)
        total = tl.dot(x, weights, total, input_precision=PRECISION)
    kept = (v < voxels)[:, None] & (out < c_out)[None, :]
    if BIAS:
        total += tl.load(
            bias_ptr + (sample * n + label)[:, None] * c_out + out[None, :], mask=kept, other=0.0
        ).to(tl.float32)
    offset = v.to(tl.int64)[:, None] * y_v + out.to(tl.int64)[None, :] * y_c
    tl.store(y_ptr + offset, total.to(y_ptr.dtype.element_ty), mask=kept)


@triton.jit
def weights_kernel(  # type: ignore[no-untyped-def]
    z_ptr,
    labels_ptr,
    taps_ptr,
    weights_ptr,
    g_ptr,
    dkernel_ptr,
    dtaps_ptr,
    size_i,
    size_j,
    size_k,
    n,
    c_in,
    c_out,
    z_b,
    z_c,
    z_v,
    g_b,
    g_c,
    g_v,
    PER_VOXEL: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_IN: tl.constexpr,
    TILE_OUT: tl.constexpr,
    TILE_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program: one tap, one share of a sample's voxels, one tile of channels and clusters.

    The grid is (27, shares, samples × tiles). The taps come first: programs that read the same
    voxels then run at the same time and share these voxels in the L2 cache.

    For the kernel, the program sums Σ_v a[t]·z(v + t)·g(v). For the tap weights, it sums
    Σ_v g(v)·W[t]·z(v + t) by cluster; until the end, each voxel of the block has its own row. With
    PER_VOXEL it stores the value of each voxel.
    """
    voxels = size_i * size_j * size_k
    tiles_in, tiles_out, tiles_n = (
        tl.cdiv(c_in, TILE_IN),
        tl.cdiv(c_out, TILE_OUT),
        tl.cdiv(n, TILE_N),
    )
    if PER_VOXEL:
        tiles_n = 1
    t, share, shares = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    tile = tl.program_id(2)
    tile_n = tile % tiles_n
    tile_out = tile // tiles_n % tiles_out
    tile_in = tile // (tiles_n * tiles_out) % tiles_in
    sample = (tile // (tiles_n * tiles_out * tiles_in)).to(tl.int64)
    z_ptr += sample * z_b
    g_ptr += sample * g_b
    labels_ptr += sample * voxels
    taps_ptr += sample * n * 27
    channel = tile_in * TILE_IN + tl.arange(0, TILE_IN)
    out = tile_out * TILE_OUT + tl.arange(0, TILE_OUT)
    cluster = tile_n * TILE_N + tl.arange(0, TILE_N)
    kept = (channel < c_in)[:, None] & (out < c_out)[None, :]
    weights = tl.load(
        weights_ptr + (t * c_in + channel)[:, None] * c_out + out[None, :], mask=kept, other=0.0
    )
    shift, crossed = step(t, size_j, size_k, 1)
    dkernel = tl.zeros((TILE_IN, TILE_OUT), tl.float32)
    if PER_VOXEL:
        dtaps_ptr += ((sample * tiles_in + tile_in) * tiles_out + tile_out) * 27 * voxels
    else:
        dtaps = tl.zeros((BLOCK, TILE_N), tl.float32)
    for start in range(share * BLOCK, voxels, shares * BLOCK):
        v = start + tl.arange(0, BLOCK)
        inside = (faces(v, size_i, size_j, size_k) & crossed) == 0
        if PER_VOXEL:
            scale = at_voxels(taps_ptr, t, voxels, v, inside)
        else:
            label = tl.load(labels_ptr + v, mask=inside, other=0)
            scale = tl.load(taps_ptr + label * 27 + t).to(tl.float32)
        z = rows(z_ptr, v + shift, inside, channel, c_in, z_c, z_v)
        g = rows(g_ptr, v, inside, out, c_out, g_c, g_v)
        scaled = (z.to(tl.float32) * scale[:, None]).to(z.dtype)
        dkernel = tl.dot(tl.trans(scaled), g, dkernel, input_precision=PRECISION)
        product = tl.sum(tl.dot(z, weights, input_precision=PRECISION) * g.to(tl.float32), 1)
        if PER_VOXEL:
            tl.store(dtaps_ptr + tl.cast(t, tl.int64) * voxels + v, product, mask=v < voxels)
        else:
            dtaps += tl.where(label[:, None] == cluster[None, :], product[:, None], 0.0)
    # Programs of other clusters with the same channels store the same sum, so their order is
    # irrelevant.
    slot = (sample * shares + share) * 27 + t
    tl.store(
        dkernel_ptr + (slot * c_in + channel[:, None]) * c_out + out[None, :], dkernel, mask=kept
    )
    if not PER_VOXEL:
        slot = ((sample * shares + share) * tiles_in + tile_in) * tiles_out + tile_out
        tl.store(dtaps_ptr + (slot * n + cluster) * 27 + t, tl.sum(dtaps, 0), mask=cluster < n)


@triton.jit
def bias_kernel(  # type: ignore[no-untyped-def]
    g_ptr,
    labels_ptr,
    dbias_ptr,
    voxels,
    n,
    c_out,
    g_b,
    g_c,
    g_v,
    BLOCK: tl.constexpr,
    TILE_OUT: tl.constexpr,
    TILE_N: tl.constexpr,
):
    """One program: one share of a sample's voxels, one tile of output channels and clusters."""
    tiles_out, tiles_n = tl.cdiv(c_out, TILE_OUT), tl.cdiv(n, TILE_N)
    share, shares, tile = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    sample = (tile // (tiles_n * tiles_out)).to(tl.int64)
    out = tile // tiles_n % tiles_out * TILE_OUT + tl.arange(0, TILE_OUT)
    cluster = tile % tiles_n * TILE_N + tl.arange(0, TILE_N)
    dbias = tl.zeros((TILE_N, TILE_OUT), tl.float32)
    for start in range(share * BLOCK, voxels, shares * BLOCK):
        v = start + tl.arange(0, BLOCK)
        label = tl.load(labels_ptr + sample * voxels + v, mask=v < voxels, other=-1)
        g = rows(g_ptr + sample * g_b, v, v < voxels, out, c_out, g_c, g_v)
        # the interpreter of Triton needs both conversions
        member = (cluster[:, None] == label[None, :]).to(tl.float32).to(g.dtype)
        # a plain sum, whose terms must not be rounded
        dbias = tl.dot(member, g, dbias, input_precision="ieee")
    slot = (sample * shares + share) * n
    kept = (cluster < n)[:, None] & (out < c_out)[None, :]
    tl.store(dbias_ptr + (slot + cluster[:, None]) * c_out + out[None, :], dbias, mask=kept)
