# The worker in a container. Build from the repository's root:
#   docker build -f deploy/cloud.Dockerfile -t cleft-cloud .
# Mount packed bundles at /models; nothing is downloaded at run time.
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
ENV OMP_WAIT_POLICY=PASSIVE CLEFT_CACHE_DIR=/tmp/cleft
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s CMD ["cleft-cloud", "status", "127.0.0.1:50051"]
ENTRYPOINT ["cleft-cloud"]
CMD ["serve", "--model", "/models/model.bundle", "--host", "0.0.0.0", "--port", "50051", "--insecure-bind", "--json"]
