//! Answers, whole or broken off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    rest: Bytes,
    ending: Ending,
}

/// What comes after the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The end, as announced.
    Orderly,
    /// A pause, so that the bytes before it leave, then the connection breaks.
    PauseThenBreak,
    /// The connection breaks.
    Break,
}

impl Answer {
    /// Sends only the first half of what the Content-Length announces.
    pub(crate) fn break_off(&mut self) {
        self.rest.truncate(self.rest.len() / 2);
        self.ending = Ending::PauseThenBreak;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        }
        match self.ending {
            Ending::Orderly => Poll::Ready(None),
            Ending::PauseThenBreak => {
                self.ending = Ending::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Break => Poll::Ready(Some(Err(io::Error::other("scripted end")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::Orderly => SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX)),
            Ending::PauseThenBreak | Ending::Break => SizeHint::default(),
        }
    }
}

/// An answer with a JSON body.
pub(crate) fn answer(status: StatusCode, body: String) -> Response<Answer> {
    let rest = if status == StatusCode::NO_CONTENT { Bytes::new() } else { Bytes::from(body) };
    let length = HeaderValue::from(rest.len());
    let mut response = Response::new(Answer { rest, ending: Ending::Orderly });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, length);
    }
    response
}
