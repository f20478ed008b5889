//! The seam to carriers of events between processes.
