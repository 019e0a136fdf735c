//! F7: the composition root.
