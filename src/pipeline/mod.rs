//! F5: the running collector: the only place that spawns tasks.
