//! The front over real sockets, before a toy schema.

mod answers;
mod client;
mod limits;
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod sockets;
mod stage;
mod upgrades;
