# persam serve in a container: not root, everything but /data and /tmp may be read-only. See docs/serve.md, Docker.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/persam
ENV PATH=/opt/persam/bin:$PATH
WORKDIR /build

# PyTorch in a layer of its own, which changes with its version alone. An index of CPU builds keeps CUDA out.
COPY constraints.txt ./
ARG TORCH_INDEX=""
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt ".[serve]" && pip uninstall --yes pip

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 persam \
    && useradd --uid 10001 --gid persam --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin persam \
    && install --directory --owner=persam --group=persam --mode=0750 /data
COPY --from=build /opt/persam /opt/persam
# Models from a hub would be kept with the data; caches of libraries need not outlive the container.
ENV PATH=/opt/persam/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/hub \
    XDG_CACHE_HOME=/tmp/cache
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# It listens to the container's network, so it asks for a token: PERSAM_TOKEN, or --token-file after the image's name.
ENTRYPOINT ["persam", "serve", "--folder", "/data", "--host", "0.0.0.0", "--log-format", "json"]
