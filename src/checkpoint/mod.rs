//! F2: how far each blob has been delivered. Pure: positions, the tracker that turns acknowledgements in any order
//! into positions that move in order, what was counted on the way, and the frontier of sealed hours.

mod frontier;
mod position;
mod tally;
mod tracker;

pub use frontier::Frontier;
pub use position::{ContextHash, Position, SeenThrough, TailState};
pub use tally::Tally;
pub use tracker::{Advance, ChainError, Delta, Tracker};
