# The service in a container: docs/deploy-docker.md.
#   docker build -t amanuensis .                         9 GB: WhisperX's aligner needs PyTorch, which brings CUDA along
#   docker build -t amanuensis --build-arg ALIGNER= .    1.6 GB: without it; all but the setting align_model works
FROM debian:trixie-slim AS uv
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir uv

FROM debian:trixie-slim
# tini is process 1: it passes signals on to the service, and buries the processes that Ray leaves behind. With wget the
# container's health is checked, here and by KubeRay.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 tini wget \
 && rm -rf /var/lib/apt/lists/*

# Versions and hashes are those of requirements.lock, which has what developers need as well: so it constrains here.
# A PyTorch without CUDA, for an aligner on the CPU: put UV_TORCH_BACKEND=cpu UV_NO_VERIFY_HASHES=1 before the second uv
# (its files are not the locked ones). That has not been built yet.
ARG ALIGNER=whisperx
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=pyproject.toml,target=/source/pyproject.toml \
    --mount=type=bind,source=requirements.lock,target=/source/requirements.lock \
    if [ -n "$ALIGNER" ]; then : > /tmp/excludes; else echo whisperx > /tmp/excludes; fi \
 && /opt/uv/bin/uv venv /opt/amanuensis \
 && /opt/uv/bin/uv pip install --python /opt/amanuensis/bin/python --no-cache --compile-bytecode \
      --requirements /source/pyproject.toml --extra base-model \
      --constraints /source/requirements.lock --excludes /tmp/excludes \
 && rm /tmp/excludes
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,target=/source \
    /opt/uv/bin/uv pip install --python /opt/amanuensis/bin/python --no-cache --compile-bytecode --no-deps \
      --build-constraints /source/requirements.lock /source
COPY configs/container.yaml /etc/amanuensis/serve_config.yaml

# KubeRay starts Ray in a login shell, which sets PATH anew.
RUN groupadd --system --gid 10001 amanuensis \
 && useradd --system --uid 10001 --gid 10001 --create-home --home-dir /var/lib/amanuensis amanuensis \
 && install --directory --owner amanuensis --group amanuensis /var/cache/amanuensis \
 && echo "PATH=/opt/amanuensis/bin:\$PATH" > /etc/profile.d/amanuensis.sh
USER 10001
WORKDIR /var/lib/amanuensis
ENV PATH=/opt/amanuensis/bin:$PATH \
    XDG_CACHE_HOME=/var/cache/amanuensis \
    XDG_STATE_HOME=/var/lib
# Models that were fetched; keys, and the records of failed requests.
VOLUME ["/var/cache/amanuensis", "/var/lib/amanuensis"]
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=3m \
  CMD ["wget", "--quiet", "--no-proxy", "--tries=1", "-O", "/dev/null", "http://127.0.0.1:9000/health/ready"]
ENTRYPOINT ["tini", "--", "amanuensis"]
CMD ["serve", "/etc/amanuensis/serve_config.yaml"]
