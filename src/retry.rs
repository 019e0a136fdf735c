//! F0: what to do after a failure, and how long to wait. Pure: randomness is an argument.
