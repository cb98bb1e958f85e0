# syntax=docker/dockerfile:1
# tunnelwarden in an image of its own: one binary on distroless, no shell, no root.
#
#   docker build -t tunnelwarden .
#   docker run -p 8080:8080 -v tunnelwarden:/var/lib/tunnelwarden \
#     -v ./conf:/etc/tunnelwarden:ro -v ./cloudflare-token:/run/secrets/cloudflare-token:ro tunnelwarden
#
# No secret is in it: the upstream's token, the keys and the record come from volumes.

FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY benches benches
COPY config config
COPY fuzz fuzz
COPY migrations migrations
COPY src src
COPY templates templates
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin tunnelwarden \
    && cp target/release/tunnelwarden /tunnelwarden \
    && install -d -m 700 /empty

# The C library must be the builder's: both are Debian 12.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /tunnelwarden /tunnelwarden
COPY config /etc/tunnelwarden
# The record and its keys: a volume, writable by the user below and nobody else.
COPY --from=builder --chown=65532:65532 /empty /var/lib/tunnelwarden
VOLUME /var/lib/tunnelwarden
# What the shipped configuration leaves to a laptop. In a container, loopback would be out of everybody's reach.
ENV TUNNELWARDEN__LISTEN__ADDRESS=0.0.0.0:8080 \
    TUNNELWARDEN__ADMIN__ADDRESS=0.0.0.0:9090 \
    TUNNELWARDEN__LOG__FORMAT=json \
    TUNNELWARDEN__AUDIT__DATABASE=sqlite:/var/lib/tunnelwarden/audit.db \
    TUNNELWARDEN__AUDIT__SIGNING_KEY_FILE=/var/lib/tunnelwarden/audit-signing.key \
    TUNNELWARDEN__AUDIT__FINGERPRINT_KEY_FILE=/var/lib/tunnelwarden/audit-fingerprint.key \
    TUNNELWARDEN__AUDIT__CHECKPOINT_FILE=/var/lib/tunnelwarden/checkpoint.txt
# 8080 the API; 9090 health and metrics, for the inside only.
EXPOSE 8080 9090
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/tunnelwarden", "healthcheck", "--config", "/etc/tunnelwarden/tunnelwarden.toml"]
ENTRYPOINT ["/tunnelwarden"]
CMD ["serve", "--config", "/etc/tunnelwarden/tunnelwarden.toml"]
