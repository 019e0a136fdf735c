//! SIGKILL at random moments.
