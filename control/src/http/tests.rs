//! The front over real sockets, before a toy schema.

mod answers;
mod limits;
mod stage;
