//! F1: the flow-log format, without I/O.
