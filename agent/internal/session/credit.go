package session

import "emberbox.dev/agent/internal/frame"

// InitialCredit is what the sender of a stream may send before the first grant, in bytes.
const InitialCredit = 262144

const maxCredit = 1<<31 - 1

// account counts one stream: what may still be sent, and whether its end has passed.
type account struct {
	credit int64
	ended  bool
	used   bool
}

// spend takes a DATA frame off the account.
func (a *account) spend(size int, end bool) error {
	if a.ended {
		return frame.Violation("DATA follows the stream's end")
	}
	if int64(size) > a.credit {
		return frame.Violation("DATA goes over the stream's credit")
	}
	a.credit -= int64(size)
	a.ended = end
	a.used = true
	return nil
}

// grant adds to the account.
func (a *account) grant(size uint32) error {
	if a.credit+int64(size) > maxCredit {
		return frame.Violation("CREDIT goes over the highest credit")
	}
	a.credit += int64(size)
	return nil
}
