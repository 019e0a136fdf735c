# One static binary in an empty image. Build: docker build -t flowlogd .
# On Alpine, Rust builds for musl: the program needs no library and no loader. tests/static_binary.sh runs such a program
# as this image does.
FROM rust:1.95-alpine AS build
# hadolint ignore=DL3018
RUN apk add --no-cache musl-dev ca-certificates
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# The manifest names the benches; nothing of them is built.
COPY benches benches
COPY src src
RUN cargo build --release --locked --bin flowlogd \
    && install -D target/release/flowlogd /root-fs/flowlogd \
    && install -D /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 0700 -o 65532 -g 65532 /root-fs/var/lib/flowlogd

# Nothing but the program, the certificates of public authorities and the state's directory, owned by the user.
FROM scratch
COPY --from=build /root-fs /
USER 65532:65532
VOLUME ["/var/lib/flowlogd"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/flowlogd"]
CMD ["run"]
