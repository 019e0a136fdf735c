//! F0: what becomes of memory that was given back.
//!
//! Events go through buffers as large as a body: run, batch, body. The system's allocator hands the end of its heap back
//! to the kernel as soon as as little as such a buffer is free there, and takes it again for the next one, page by page,
//! each filled with zeros first: that takes longer than everything else that is done with an event.

use std::hint::black_box;

/// A few bodies of the usual size. glibc keeps twice as much at the end of its heap.
const LARGEST_USUAL_BYTES: usize = 4 * 1024 * 1024;

/// Lets the allocator keep what buffers of the usual size leave, for the next ones. Called once, at the start.
///
/// glibc takes the largest buffer given back so far for the size that is usual ("Dynamic adjustment of the mmap
/// threshold", mallopt(3)), and one that nobody writes to costs no memory. On other allocators this does nothing.
pub fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(LARGEST_USUAL_BYTES)));
}
