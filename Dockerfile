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
# What Twisted remembers of its plugins: it can write nothing where the programs run.
RUN /opt/meshtx/bin/twistd --help >/dev/null \
    && /opt/meshtx/bin/python -c 'import twisted.plugin, meshtx.plugins; twisted.plugin.getCache(meshtx.plugins)'

FROM python:${PYTHON}
# For the redirect alone. Whatever version the base has: it is built anew when that gets a fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends nftables \
    && rm -rf /var/lib/apt/lists/* \
    && pip uninstall -y --root-user-action=ignore pip \
    && useradd --uid 2102 --no-create-home --shell /usr/sbin/nologin meshtx
COPY --from=build /opt/meshtx /opt/meshtx
ENV PATH=/opt/meshtx/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 2102:2102
WORKDIR /
CMD ["meshtx", "--help"]
