//! A message on its way out as the body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{Export, Refusal};

/// Announces its length, so that whoever receives less knows that it is not whole.
pub(super) struct ExportBody {
    export: Export,
    left_bytes: u64,
}

impl ExportBody {
    pub(super) fn new(export: Export) -> Self {
        Self { left_bytes: export.size_bytes, export }
    }
}

impl HttpBody for ExportBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let this = self.get_mut();
        this.export.chunks.poll_recv(context).map(|chunk| {
            Some(chunk?.map(|bytes| {
                this.left_bytes = this.left_bytes.saturating_sub(bytes.len() as u64);
                Frame::data(bytes)
            }))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
