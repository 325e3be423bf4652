//! Shared by the benchmark binaries in `src/bin`: nothing yet.
