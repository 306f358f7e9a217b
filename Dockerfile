# The service for a database of your own, which ASSISTENZA_DATABASE_URL names:
#
#   docker build -t assistenza .
#   docker run --rm -e ASSISTENZA_MIGRATION_DATABASE_URL=… assistenza migrate
#   docker run -p 8000:8000 -e ASSISTENZA_DATABASE_URL=… assistenza
#
# It brings no PostgreSQL of its own, runs as any user, and writes to /tmp alone:
#
#   docker run --user 54321:54321 --read-only --tmpfs /tmp -p 8000:8000 -e ASSISTENZA_DATABASE_URL=… assistenza
#
# The base is pinned, so that the same checkout builds on the same base. This is Python 3.13.14 on
# Debian 13; the digest of the newest one: docker buildx imagetools inspect python:3.13-slim-trixie
ARG PYTHON=python:3.13-slim-trixie@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6

FROM ${PYTHON} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/assistenza
COPY requirements requirements
RUN pip install --require-hashes --only-binary :all: -r requirements/build.txt \
    && pip --python /opt/assistenza/bin/python install --require-hashes --only-binary :all: \
        -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY alembic alembic
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/assistenza/bin/python install --no-deps /wheels/*.whl


FROM ${PYTHON}

RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent assistenza
COPY --from=build /opt/assistenza /opt/assistenza
ENV PATH=/opt/assistenza/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ASSISTENZA_HOST=0.0.0.0 \
    ASSISTENZA_PORT=8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "\
import os, urllib.request as request; \
request.urlopen(f\"http://127.0.0.1:{os.environ['ASSISTENZA_PORT']}/readyz\", timeout=4)"]
ENTRYPOINT ["assistenza"]
CMD ["serve"]
