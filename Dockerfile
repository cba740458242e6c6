# syntax=docker/dockerfile:1
# Banyan in an image that holds nothing else: two static programs, no shell, no root.
#
#   docker build -t banyan .
#   docker compose up        # three nodes, compose.yaml

FROM rust:1.93-alpine AS build
# For the C and assembler parts of the allocator and of TLS. On Alpine programs are linked with musl, statically.
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p banyan-node -p banyan-cli \
    && mkdir -p /out/data \
    && cp target/release/banyan target/release/banyanctl /out/

FROM scratch
COPY --from=build /out/banyan /out/banyanctl /usr/local/bin/
# A volume that is mounted here first takes over owner and mode of this directory.
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/banyan
USER 65532:65532
ENV PATH=/usr/local/bin \
    BANYAN_DATA_DIR=/var/lib/banyan
VOLUME /var/lib/banyan
# MQTT, HTTP and WebSocket, other nodes. Listeners are on loopback until settings say otherwise.
EXPOSE 1883 8080 7400
# Ready means that the node is in touch with a quorum; a node that is not is kept running, for it can do nothing better.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["banyanctl", "--endpoint", "http://127.0.0.1:8080", "status"]
# SIGTERM stops a node in order: clients are told, the leadership is handed over. It takes up to 10 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["banyan"]
