//! Benchmarks of the engine: one question a file, each checks its answer.
