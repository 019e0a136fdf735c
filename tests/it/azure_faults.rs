//! What the Azure adapter makes of a misbehaving server.
