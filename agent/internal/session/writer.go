package session

import (
	"errors"
	"io"
	"sync"
)

// errGone says that frames can no longer reach the host that the channel belongs to.
var errGone = errors.New("the channel's session has ended")

const maxPending = 1 << 20

// writer puts whole frames on the stream, each piece in one write.
//
// One goroutine at a time writes, and what others want to say meanwhile is kept, so that a host that does not read holds up the
// senders of data alone and not the reader of the stream. What is kept is bounded: beyond it, senders wait.
type writer struct {
	mu      sync.Mutex
	free    sync.Cond
	sink    io.Writer
	busy    bool
	pending []byte
	err     error
}

func newWriter(sink io.Writer) *writer {
	w := &writer{sink: sink}
	w.free.L = &w.mu
	return w
}

// send writes frames and returns when they are on the stream. A channel that is detached writes nothing.
func (w *writer) send(call *Call, frames []byte) error {
	w.mu.Lock()
	for w.busy && w.err == nil {
		w.free.Wait()
	}
	return w.write(call, frames)
}

// post is send for small frames: it does not wait for another goroutine's write.
func (w *writer) post(call *Call, frames []byte) error {
	w.mu.Lock()
	for w.busy && w.err == nil && len(w.pending) > maxPending {
		w.free.Wait()
	}
	if w.busy && w.err == nil {
		if call == nil || !call.detached.Load() {
			w.pending = append(w.pending, frames...)
		}
		w.mu.Unlock()
		return nil
	}
	return w.write(call, frames)
}

// write is called with the lock held and nobody writing; it releases the lock.
func (w *writer) write(call *Call, frames []byte) error {
	if w.err != nil || (call != nil && call.detached.Load()) {
		w.mu.Unlock()
		return errGone
	}
	w.busy = true
	for {
		w.mu.Unlock()
		_, err := w.sink.Write(frames)
		w.mu.Lock()
		if err != nil {
			w.err = err
		}
		if len(w.pending) == 0 || w.err != nil {
			break
		}
		frames, w.pending = w.pending, nil
	}
	w.busy = false
	err := w.err
	w.free.Broadcast()
	w.mu.Unlock()
	return err
}

// forget drops what channels of an ended session still wanted to say.
func (w *writer) forget() {
	w.mu.Lock()
	w.pending = nil
	w.mu.Unlock()
}
