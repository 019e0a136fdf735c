//! F3: the one way off the async threads, for work that would hold up all that wait on the one it runs on: the disk, and
//! what takes the processor milliseconds.
//!
//! A runtime of several threads has other ones for such work. On a runtime of a single thread the work is done there and
//! then: so everything happens in one order, and a simulation on a paused clock can be played again.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinHandle,
};

/// The runtime is ending, so the work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process is ending")]
pub struct Ending;

/// Does work that blocks. A panic in it is passed on.
///
/// # Errors
/// [`Ending`].
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ending> {
    if is_inline() {
        return Ok(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Ending),
        },
    }
}

/// Starts a task whose steps block, on a thread of its own. It is not ended with the runtime, which waits for it.
pub fn start<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    if is_inline() {
        return tokio::spawn(task);
    }
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(task))
}

fn is_inline() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// *Scenario*: work and a task on a runtime of one thread and on one of several.
    /// *Guarantees*: they run on the thread that asks, or on another one.
    #[test]
    fn threads() {
        let run = || async {
            let asking = thread::current().id();
            let worked = offload(move || thread::current().id() == asking).await;
            let started = start(async move { thread::current().id() == asking }).await;
            (worked.unwrap(), started.unwrap())
        };
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(single.block_on(run()), (true, true));
        let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(several.block_on(run()), (false, false));
    }

    /// *Scenario*: work panics. *Guarantees*: so does who asked for it.
    #[test]
    fn panics_are_passed_on() {
        let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let asked = std::panic::catch_unwind(|| {
            several.block_on(offload(|| -> () { std::panic::resume_unwind(Box::new("the work")) }))
        });
        assert_eq!(asked.unwrap_err().downcast_ref::<&str>(), Some(&"the work"));
    }
}
