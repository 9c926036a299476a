//! Decides what a pilot does: one state machine from inputs to effects.
