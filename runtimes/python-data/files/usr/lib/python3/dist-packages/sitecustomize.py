"""Nothing to customize. It exists so that every start of the interpreter finds it; see spec/waiting-interpreter.md."""
