# One static binary in an empty image. Build: docker build -t flowlogd .
FROM rust:1.95-alpine AS build
# hadolint ignore=DL3018
RUN apk add --no-cache musl-dev ca-certificates
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked --bin flowlogd \
    && install -D target/release/flowlogd /root-fs/flowlogd \
    && install -D /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 0700 -o 65532 -g 65532 /root-fs/var/lib/flowlogd

FROM scratch
COPY --from=build /root-fs /
USER 65532:65532
VOLUME ["/var/lib/flowlogd"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/flowlogd"]
CMD ["run"]
