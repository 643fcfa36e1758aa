//! The simulator, the receiver and the zoo over real sockets, without hookline.

mod receiver;
mod simulator;
mod stub;
mod zoo;
