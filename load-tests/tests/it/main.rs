//! The simulator and the receiver over real sockets, without hookline.

mod receiver;
mod simulator;
mod stub;
