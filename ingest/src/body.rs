//! Reading a body: bounded bytes, bounded time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::admission::Permit;
use crate::answer::Refusal;

/// Reads the whole body within the permit's length and the time-out.
pub(crate) async fn read<B>(body: B, permit: &Permit, timeout: Duration) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    tokio::time::timeout(timeout, collect(body, permit.max_body)).await.unwrap_or(Err(Refusal::SlowBody))
}

/// One frame is the usual case and is passed on without a copy.
async fn collect<B>(mut body: B, limit: u64) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(Refusal::TooLarge);
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
