//! The least that an answer can cost: hyper as hookline's edge has it, which reads the body and answers a constant; the
//! same with the signature verified; and the same with a record of the body's event synced into a raw file.
//!
//! Left out is everything else that an edge does: routes, permits, limits, time-outs, the fields of the body, gateways,
//! metrics.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::append::RawFile;
use crate::load::EventRecord;
use crate::serve::serve;

/// As the edge has them.
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
const MAX_HEAD: usize = 16 * 1024;

/// What is done to a body.
pub(super) enum Work {
    /// It is read.
    Read,
    /// And its signature is verified.
    Verify(ContentKey),
    /// And a record is synced: not its own, but the next of those that were made before.
    Append { key: ContentKey, file: RawFile, records: Arc<[EventRecord]>, next: AtomicUsize },
}

impl Work {
    pub(super) fn verify(secret: &str) -> Self {
        Self::Verify(ContentKey::new(&Secret::new(secret)))
    }

    pub(super) fn append(
        secret: &str,
        directory: &Path,
        records: Arc<[EventRecord]>,
    ) -> anyhow::Result<Self> {
        let file = RawFile::create(directory)?;
        let key = ContentKey::new(&Secret::new(secret));
        Ok(Self::Append { key, file, records, next: AtomicUsize::new(0) })
    }
}

/// Answers until it is stopped.
pub(super) async fn answer_all(listener: TcpListener, work: Work, stop: CancellationToken) {
    let work = Arc::new(work);
    serve(listener, stop, |stream| connection(stream, Arc::clone(&work))).await;
}

async fn connection(stream: TcpStream, work: Arc<Work>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| async { answer(request, &work).await });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever broke it off knows of it.
    let _ = served.await;
}

async fn answer(request: Request<Incoming>, work: &Work) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let verifies = |key: &ContentKey| {
        let signature = head.headers.get("content-hmac").map_or(&[][..], HeaderValue::as_bytes);
        key.verifies(&body, signature)
    };
    let status = match work {
        Work::Read => StatusCode::OK,
        Work::Verify(key) if verifies(key) => StatusCode::OK,
        Work::Append { key, file, records, next } if verifies(key) => {
            let number = next.fetch_add(1, Ordering::Relaxed) % records.len();
            let record = records.get(number).map(|record| record.value.clone()).unwrap_or_default();
            match file.clone().append(record).await {
                Ok(()) => StatusCode::OK,
                Err(_) => StatusCode::SERVICE_UNAVAILABLE,
            }
        }
        Work::Verify(_) | Work::Append { .. } => StatusCode::UNAUTHORIZED,
    };
    Ok(respond(status))
}

/// With the headers that hookline's answers have.
fn respond(status: StatusCode) -> Response<Full<Bytes>> {
    let body: &[u8] = if status == StatusCode::OK { b"{\"code\":0}" } else { b"{\"code\":13}" };
    let mut response = Response::new(Full::new(Bytes::from_static(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
