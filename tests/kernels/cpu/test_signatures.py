"""A wrong call of a kernel, or a kernel that fails, is a Python exception."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from sacbnet.kernels.cpu import levels, native
from sacbnet.kernels.cpu.library import Library
from sacbnet.kernels.cpu.signatures import SIGNATURES, Signature

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")

# kernels that fail on purpose: in the thread that calls, in a thread of their own, and not at all
SOURCE = """
#include <stdexcept>
#include "simd.h"
namespace sacbnet {
KERNEL long fail(long how, long tasks, long threads, float* done) {
    parallel(tasks, threads, [&](long task, long) {
        if (how == 1) throw std::bad_alloc();
        if (how == 2) throw std::runtime_error("the sum is odd");
        if (how == 3) throw 7;
        if (how == 4) scratch(1L << 60);
        done[task] = 1;
    });
    return 10 * tasks;
}
EXPORT(fail)
}  // namespace sacbnet
"""
FAIL = {"fail": "long how, long tasks, long threads, out float32 done"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    source, file = folder / "fail.cpp", folder / "fail.so"
    source.write_text(SOURCE)
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    flags = ["-std=c++17", "-fPIC", "-shared", "-pthread", "-Wno-psabi", f"-I{levels.SOURCES}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(file)], check=True)
    return file


def up(x=None, y=None, *more):
    """A small valid call, changed."""
    x = torch.ones(1, 1, 2, 2, 2) if x is None else x
    y = torch.ones(1, 1, 4, 4, 4) if y is None else y
    return native.call("up", x, y, 1, 2, 2, 2, 1, *more)


def test_the_table_names_every_kernel_that_the_sources_export():
    exported = [
        name
        for file in levels.SOURCES.glob("*.cpp")
        for name in re.findall(r"^EXPORT\((\w+)\)", file.read_text(), re.MULTILINE)
    ]
    assert sorted(exported) == sorted(SIGNATURES)


def test_a_valid_call_returns():
    y = torch.zeros(1, 1, 4, 4, 4)
    assert up(None, y) == 0
    assert bool((y == 2).all())  # in voxels of half the size
    assert native.call("conv_tasks", 16, 16, 16, 8) > 0


def test_a_miscounted_call():
    with pytest.raises(TypeError, match=r"up got 8 arguments; 7 were expected: x, y, volumes"):
        up(None, None, 1)
    with pytest.raises(TypeError, match=r"up got 1 arguments; 7"):
        native.call("up", torch.ones(1))
    with pytest.raises(KeyError):
        native.call("down")


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.ones(1, 1, 2, 2, 2, dtype=torch.float64), TypeError, "x is torch.float64; torch.fl"),
        (np.ones((2, 2, 2)), TypeError, "x is float64; torch.float32 was expected"),
        (torch.ones(1, 1, 2, 2, 2, device="meta"), TypeError, "x lies on meta; the CPU"),
        (torch.ones(2, 2, 2).transpose(0, 2), ValueError, "dense with its last axis contiguous"),
        (np.ones((2, 2, 2), np.float32)[::-1], ValueError, "dense with its last axis contiguous"),
        ([1.0] * 8, TypeError, "x is a list; an array"),
        (5, TypeError, "x is a int; an array"),
    ],
)
def test_a_wrong_array(x, error, words):
    with pytest.raises(error, match=words):
        up(x)


def test_none_only_where_it_is_allowed():
    with pytest.raises(TypeError, match="y is a NoneType"):
        native.call("up", torch.ones(1, 1, 2, 2, 2), None, 1, 2, 2, 2, 1)
    totals = torch.empty(2, dtype=torch.float64)
    u = torch.ones(1, 2, 2, 2)
    assert native.call("square_gradient", u, None, totals, 1, 2, 2, 2, 1.0, 1.0, 1.0, 1) == 0


def test_wrong_numbers():
    x, y = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 4, 4, 4)
    with pytest.raises(TypeError, match="i is a float; a whole number"):
        native.call("up", x, y, 1, 2.0, 2, 2, 1)
    totals = torch.empty(2, dtype=torch.float64)
    with pytest.raises(TypeError, match="weight_i is a Tensor; a number"):
        native.call("square_gradient", x[0], None, totals, 1, 2, 2, 2, totals, 1.0, 1.0, 1)


def test_an_output_that_is_read_only():
    y = np.ones((4, 4, 4), np.float32)
    y.setflags(write=False)
    with pytest.raises(ValueError, match="y is read-only"):
        up(None, y)


def test_voxels_have_their_channels_side_by_side_and_one_type():
    planar = torch.ones(1, 8, 2, 2, 2)
    z = native.channels_last(planar)
    out = torch.empty_like(z)
    sizes = (1, 2, 2, 2, 8, 1)
    assert native.call("neighbourhood_mean", z, False, out, *sizes) == 0
    with pytest.raises(ValueError, match="its channels side by side"):
        native.call("neighbourhood_mean", planar, False, out, *sizes)
    with pytest.raises(TypeError, match="the flag 'bf16 of z' is True, but the argument z is tor"):
        native.call("neighbourhood_mean", z, True, out, *sizes)
    with pytest.raises(TypeError, match=r"x is torch.bfloat16; torch.float32, as y is"):
        native.call("leaky_add", z, z.bfloat16(), 0.1, out, False, False, z.numel(), 1)


def test_a_displacement_of_a_map_is_checked_as_well():
    from sacbnet.kernels.cpu import maps

    with pytest.raises(TypeError, match="float32, dense"):
        maps.displacement([(np.zeros((2, 2, 2, 3)), np.eye(4))], (2, 2, 2), np.eye(4))


def test_memory_that_is_not_to_be_had_in_the_thread_that_calls():
    x = native.channels_last(torch.ones(1, 8, 2, 2, 2))
    weight, y = torch.ones(8, 8, 27), torch.empty_like(x)
    many = 1 << 44  # channels: their weights alone would fill more than the address space
    with pytest.raises(MemoryError, match="the kernel conv found no memory"):
        native.call(
            "conv", x, 0, None, None, 0.1, weight, 0, None, y, 0, None, 1, 2, 2, 2, many, 8, 1
        )


@pytest.mark.parametrize("threads", [1, 4])
def test_a_failure_in_any_thread_is_raised(built, threads):
    done = torch.zeros(50)

    def fail(how):
        return kernels.call("fail", how, 50, threads, done)

    kernels = Library(built, FAIL)
    for how in (1, 4):
        with pytest.raises(MemoryError, match="the kernel fail found no memory"):
            fail(how)
    with pytest.raises(RuntimeError, match="the kernel fail failed: the sum is odd"):
        fail(2)
    with pytest.raises(RuntimeError, match="an exception of an unknown type"):
        fail(3)
    assert not done.any()
    assert fail(0) == 500  # and the next call is served
    assert done.all()


def test_a_kernel_that_the_file_lacks(built):
    with pytest.raises(RuntimeError, match=r"fail.so have no kernel 'warp'; install sacbnet again"):
        Library(built, FAIL | {"warp": "long n"})


@pytest.mark.parametrize(
    "declaration",
    [
        "long how, long tasks, long threads",
        "long how, long tasks, double threads, out float32 done",
        "long how, long tasks, long threads, float32 done",
        "long how, long tasks, long threads, out float64 done",
    ],
)
def test_a_table_that_the_file_contradicts(built, declaration):
    with pytest.raises(RuntimeError, match=r"arguments of the types 'lllF', but signatures.py"):
        Library(built, {"fail": declaration})


def test_a_kind_that_does_not_exist():
    with pytest.raises(ValueError, match="the argument x has the kind 'float16'"):
        Signature("scale", "float16 x")
