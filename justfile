# One command before a commit, one before a merge; long modes have their own.

# Before a commit.
pre:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test -p candor-protocol -p candor-broker -p candor-client

# Before a merge: what continuous integration runs.
test:
    ./test.sh

# Licences, sources and duplicate crates.
deny:
    cargo deny check licenses bans sources

# Instructions of what a message costs, held against broker/counts/counts.toml; `just counts --accept` renews the table.
counts *flags:
    cargo run -p candor-counts -- {{flags}}

# The large worlds of the model checker, with their figures.
model:
    cargo test --profile bench-quick -p candor-protocol --test model -- --ignored --nocapture --test-threads 1

# A minute for each fuzz target.
fuzz seconds="60":
    cd protocol/fuzz && for target in $(cargo fuzz list); do RUSTC_BOOTSTRAP=1 cargo fuzz run $target -- -max_total_time={{seconds}}; done

# A broker killed 200 times in the middle of its work, then one that loses power each time, then one whose disk fails.
crash kills="200" seed="1":
    cargo run -p candor-compat -- crash --kills {{kills}} --seed {{seed}}
    cargo run -p candor-compat -- crash --kills {{kills}} --power-loss --seed {{seed}}
    cargo run -p candor-compat -- crash --kills 60 --faults --seed {{seed}}

# Every case of every peer with our broker and client.
matrix:
    cargo run -p candor-compat -- matrix

# The Internet-Draft as text and HTML, in target/draft.
draft:
    rfc/tools.sh
    cargo run -p candor-rfc -- build --out target/draft

# docs/performance.md: everything that it says, measured beside other people's brokers (half an hour; `--quick` shows that it works).
performance *flags:
    compat-tests/setup.sh --measured
    cargo run -p candor-compat -- performance {{flags}}
