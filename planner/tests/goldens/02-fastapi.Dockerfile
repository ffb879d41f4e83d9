# python, planned by Trackside (9025b9c91a98)

# uv==0.12.8, from its wheel
FROM debian:bookworm-slim AS uv
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates python3-pip && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN pip install -q --disable-pip-version-check --root-user-action=ignore --break-system-packages --no-cache-dir --no-compile --no-deps --target /opt/tools uv==0.12.8

# What the app needs from the system
FROM debian:bookworm-slim AS base
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates tzdata python3 && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN printf 'app:x:1000:1000::/home/app:/bin/sh\n' >> /etc/passwd && printf 'app:x:1000:\n' >> /etc/group && mkdir -p /app /home/app && chown 1000:1000 /app /home/app
ENV LANG="C.UTF-8"

# Dependencies first, so that a change of the source does not install them again
FROM base AS build
COPY --from=uv ["/opt/tools/bin/uv", "/usr/local/bin/uv"]
ENV VIRTUAL_ENV="/opt/venv" \
    UV_LINK_MODE="copy" \
    UV_PYTHON_DOWNLOADS="never" \
    UV_COMPILE_BYTECODE="1" \
    PATH="/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN uv venv --quiet --python /usr/bin/python3 /opt/venv
COPY ["pyproject.toml", "/app/pyproject.toml"]
COPY ["uv.lock", "/app/uv.lock"]
RUN --mount=type=cache,id=uv,target=/root/.cache/uv,sharing=locked cd /app && uv export --quiet --frozen --no-dev --no-emit-workspace --output-file /tmp/requirements.txt && uv pip install --requirements /tmp/requirements.txt && rm /tmp/requirements.txt
COPY --chown=1000:1000 [".", "/app/"]

FROM base
COPY --from=build ["/opt/venv", "/opt/venv"]
COPY --from=build --chown=1000:1000 ["/app", "/app"]
ENV PATH="/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    VIRTUAL_ENV="/opt/venv" \
    PYTHONUNBUFFERED="1" \
    PYTHONDONTWRITEBYTECODE="1" \
    PYTHONFAULTHANDLER="1" \
    PYTHONPATH="/app:/app/src"
ENV HOME="/home/app"
WORKDIR /app
USER 1000:1000
CMD ["/bin/sh", "-c", "exec uvicorn main:app --host 0.0.0.0 --port ${PORT:-8080}"]
