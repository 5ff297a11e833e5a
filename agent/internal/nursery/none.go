// Package nursery keeps an interpreter waiting for the next run (spec/waiting-interpreter.md).
package nursery
