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

# 100 seeds of the simulator, after a look whether it repeats itself; docs/simulation.md.
sim SEEDS="0..100":
    cargo run --profile sim -p banyan-sim -- meta --seeds 0..3
    cargo run --profile sim -p banyan-sim -- run --seeds {{SEEDS}} --jobs 2

# Seeds that nobody has run yet, as many as an hour allows or so.
sim-long COUNT="1000":
    cargo run --profile sim -p banyan-sim -- meta
    from=$(date +%s); cargo run --profile sim -p banyan-sim -- run --seeds $from..$((from + {{COUNT}})) --jobs 2 --keep-going

# Planted bugs: is each found, by the promise that it breaks?
sim-bugs:
    cargo run --profile sim -p banyan-sim --features planted-bugs -- bugs --jobs 2

# Licences, advisories, sources (needs cargo-deny).
deny:
    cargo deny check

# Three nodes on loopback.
playground:
    cargo run --release -- playground
