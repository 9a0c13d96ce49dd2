# The worker in a container. Build from the repository's root:
#   docker build -f deploy/cloud.Dockerfile -t cleft-cloud .
# Mount packed bundles and a cloud.toml (see deploy/compose.yaml); nothing is downloaded at run time. A setting can also
# come from the environment: CLEFT_THREADS=8.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 cleft
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY protos protos
COPY partitioner partitioner
COPY cloud cloud
COPY edge edge
RUN pip install --no-cache-dir --constraint constraints.txt '.[torch,image]'

USER cleft
# PROBE holds the flags that the health probe needs to reach the port: with TLS, --tls-ca FILE --tls-name NAME.
ENV OMP_WAIT_POLICY=PASSIVE CLEFT_CACHE_DIR=/tmp/cleft PROBE=""
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD cleft-cloud status 127.0.0.1:50051 --health $PROBE
ENTRYPOINT ["cleft-cloud"]
CMD ["serve", "--config", "/etc/cleft/cloud.toml"]
