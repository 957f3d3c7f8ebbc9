"""The committor: its model, shots that measure it, and the transition states."""
