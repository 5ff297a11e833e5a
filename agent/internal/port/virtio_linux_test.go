package port

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

func virtioPair(t *testing.T) (link *virtioLink, host int) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(pair[1]) })
	return &virtioLink{fd: pair[0]}, pair[1]
}

func TestClosingEndsAWriteThatNobodyTakes(t *testing.T) {
	link, host := virtioPair(t)
	done := make(chan error, 1)
	go func() {
		_, err := link.Write(make([]byte, 16<<20))
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	// Close has waited for it: whatever opens now may get the descriptor's number, and must not get the rest.
	select {
	case err := <-done:
		if !errors.Is(err, errHostGone) {
			t.Errorf("the write ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the write did not return")
	}
	other, _ := virtioPair(t)
	if other.fd != link.fd {
		t.Skipf("descriptor %d was not used again", link.fd)
	}
	if n, err := link.Write([]byte("late")); n != 0 || !errors.Is(err, errHostGone) {
		t.Errorf("a closed link wrote %d bytes: %v", n, err)
	}
	_ = host
}
