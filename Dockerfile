# sacbnet in a container:
#
#     docker build -t sacbnet .                                          # for the CPU
#     docker build -t sacbnet:cuda --build-arg TORCH_BACKEND=cu130 .     # for GPUs: run it with --gpus all
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" sacbnet register --fixed a.nii.gz --moving b.nii.gz --out result
#
# The first stage compiles the kernels for every level of instructions into a wheel. The second one has no compiler.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
# The compiler of the distribution is right in each of its versions.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends --yes g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --requirement constraints-build.txt \
 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:${PYTHON}-slim
# uv knows where torch has its builds: cpu, or a version of CUDA such as cu130 (uv pip install --help lists them)
ARG TORCH_BACKEND=cpu
ENV UV_TORCH_BACKEND=${TORCH_BACKEND} UV_SYSTEM_PYTHON=1 UV_NO_CACHE=1
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir uv==0.13.9 \
 && uv pip install --constraint /tmp/constraints.txt torch /tmp/wheels/*.whl \
 && pip uninstall --yes uv \
 && rm -r /tmp/wheels \
 && useradd --uid 1000 --create-home sacbnet
# With --user the home folder belongs to somebody else.
ENV XDG_CACHE_HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["sacbnet"]
CMD ["--help"]
