# Darkroom as an image: `darkroom server`, a worker and every command, for compose.yaml. Nothing in it runs as root.
FROM python:3.12.12-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/darkroom
COPY requirements.lock ./
RUN /opt/darkroom/bin/python -m pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY data ./data
COPY models ./models
COPY tasks ./tasks
COPY flows ./flows
COPY src ./src
RUN /opt/darkroom/bin/python -m pip install --no-cache-dir --no-deps .

FROM python:3.12.12-slim-bookworm

RUN groupadd --system --gid 10001 darkroom \
    && useradd --system --uid 10001 --gid darkroom --create-home --home-dir /home/darkroom darkroom \
    && install --directory --owner=darkroom --group=darkroom /workspace /images /home/darkroom/.prefect
COPY --from=build /opt/darkroom /opt/darkroom
ENV PATH=/opt/darkroom/bin:$PATH \
    PREFECT_HOME=/home/darkroom/.prefect \
    DARKROOM_WORKSPACE=/workspace \
    XDG_CACHE_HOME=/workspace/.cache \
    KERAS_HOME=/tmp/keras
USER 10001:10001
WORKDIR /workspace
ENTRYPOINT ["darkroom"]
CMD ["--help"]
