// Package files reads, writes, lists and deletes in the guest, with the rights of the user that a request names.
package files

import (
	"path/filepath"

	"emberbox.dev/agent/internal/failure"
)

const maxPath = 4096

// Resolve returns the clean absolute path that a request means; one without a leading slash is taken from the work folder.
func Resolve(work, path string) (string, error) {
	if path == "" || len(path) > maxPath {
		return "", failure.BadRequest("path: must have 1 to 4,096 bytes")
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	return filepath.Join(work, path), nil
}
