# The image of every program of the mesh, and of the redirect that is loaded before a sidecar:
#
#     docker build -t meshtx:0.1.0 .

ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY meshtx meshtx
COPY twisted twisted
RUN python -m venv --without-pip /opt/meshtx \
    && pip --python /opt/meshtx/bin/python install --no-cache-dir .
# What Twisted remembers of its plugins: it can write nothing where the programs run. Not of those in this folder.
RUN /opt/meshtx/bin/twistd --help >/dev/null \
    && /opt/meshtx/bin/python -I -c 'import twisted.plugin, meshtx.plugins; twisted.plugin.getCache(meshtx.plugins)'
# What no program here reads: tests, and what rich needs to show source code.
RUN pip --python /opt/meshtx/bin/python uninstall -y --root-user-action=ignore pygments markdown-it-py mdurl \
    && find /opt/meshtx/lib -type d -path '*/twisted/*' -name test -prune -exec rm -r {} +

FROM python:${PYTHON}
# For the redirect alone. Whatever version the base has: it is built anew when that gets a fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends nftables \
    && rm -rf /var/lib/apt/lists/* \
    && pip uninstall -y --root-user-action=ignore pip \
    && useradd --uid 2102 --no-create-home --shell /usr/sbin/nologin meshtx
COPY --from=build /opt/meshtx /opt/meshtx
ENV PATH=/opt/meshtx/bin:$PATH
# The official image has no bytecode of the standard library, and a read-only root never gets any.
RUN for program in meshproxy meshidentity meshdirectory meshinjector; do twistd "$program" --help || exit; done >/dev/null \
    && meshtx wait --help >/dev/null
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="meshtx" \
    org.opencontainers.image.description="Automatic mutual TLS between services: every program of the mesh" \
    org.opencontainers.image.licenses="Apache-2.0"
USER 2102:2102
WORKDIR /
CMD ["meshtx", "--help"]
