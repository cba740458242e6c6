# What CI runs; edits nothing.
check: fmt-check clippy doc test

# The test command of the README.
test:
    cargo test --workspace

fmt-check:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Formats and applies what clippy can fix.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# One fuzz target for some seconds; fuzz/README.md has the list.
fuzz TARGET SECONDS="60":
    fuzz/run {{TARGET}} {{SECONDS}}

# Licences, advisories, sources (needs cargo-deny).
deny:
    cargo deny check

# Three nodes on loopback.
playground:
    cargo run --release -- playground
