//! The dispatcher: delivers events to webhooks, each endpoint at its own pace.
//!
//! `fetch → plan → attempt → settle → commit`. A pure [`core`](self) decides (no await, no clock); a thin
//! `shell` performs its actions on one thread and brings back what happened; `attempt` is one HTTP request.
//! State that must survive a crash is in the log alone: the watermark, R, and the lane records.

mod attempt;
#[doc(hidden)]
pub mod bench;
mod core;
mod endpoints;
mod metrics;
mod redelivery;
mod settings;
mod shell;

pub use endpoints::{ByHandError, EndpointState, EndpointStatus, Endpoints};
pub use metrics::METRICS;
pub use settings::{Settings, durations};
pub use shell::{Dispatcher, DispatcherError};
