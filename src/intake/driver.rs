//! One delivery: attempts until the intake has the batch.
