// Package archive moves folders in and out of the guest as tar streams.
package archive

import (
	"fmt"

	"emberbox.dev/agent/internal/failure"
)

// Bounds limits what an archive may hold: bytes of file content, and entries of any kind.
type Bounds struct {
	Bytes   int64
	Entries int64
}

// Count is what an archive held.
type Count struct {
	Bytes   int64
	Entries int64
}

func outside(name string) error {
	return failure.New("outside_folder", fmt.Sprintf("the entry %q leads out of the folder", name))
}

func badEntry(name, problem string) error {
	return failure.BadRequest(fmt.Sprintf("the entry %q %s", name, problem))
}
