# The locked environment and the repository in one image. What a container writes lies in /out.
#
#   docker build --tag lrface .                          # with CUDA's libraries; a GPU: docker run --gpus all ...
#   docker build --tag lrface --build-arg TORCH=cpu .    # PyTorch for CPUs, 5 GB less
#   docker run --rm --volume "$PWD/out:/out" lrface lrface reproduce --study 01
#   docker run --rm --volume "$PWD/out:/out" --publish 127.0.0.1:8888:8888 lrface          # JupyterLab
#   docker run --rm --volume /my/faces:/data:ro --env LRFACE_DATA=/data lrface lrface data check celeba
FROM python:3.11-slim-bookworm AS system
# make and git for the project's own commands; OpenCV's wheel wants the other two
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git libgl1 libglib2.0-0 make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home reader \
 && install --directory --owner reader /out /lrface
USER reader
WORKDIR /lrface

FROM system
ARG TORCH=cuda
# only what the environment is made of: a change of code leaves this layer as it is
COPY --chown=reader Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY --chown=reader lib/lrface/__init__.py lib/lrface/__init__.py
RUN mkdir notebooks && make setup TORCH="$TORCH"
COPY --chown=reader . .
ENV PATH="/lrface/.venv/bin:$PATH" LRFACE_OUT=/out LRFACE_CACHE=/out/cache
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]
