//! The bus over PostgreSQL, against real servers: what is committed reaches every node once, in one order.

mod faults;
mod order;
mod publish;
mod support;
mod upkeep;
mod watch;
