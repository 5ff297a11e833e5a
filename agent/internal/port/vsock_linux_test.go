package port

import (
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

const patience = 3 * time.Minute // a busy machine is slow; only a hang is to fail

func linkPair(t *testing.T) (link *vsockLink, host int) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(pair[1]) })
	return &vsockLink{pair[0], os.NewFile(uintptr(pair[0]), "link")}, pair[1]
}

func finish(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s did not return", what)
		return nil
	}
}

func TestClosingWakesAWriteThatNobodyReads(t *testing.T) {
	link, _ := linkPair(t)
	done := make(chan error, 1)
	go func() {
		_, err := link.Write(make([]byte, 16<<20))
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	select {
	case err := <-done:
		t.Fatalf("the write did not wait: %v", err)
	default:
	}
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	if err := finish(t, "the write", done); err == nil {
		t.Error("a write that was cut short must fail")
	}
}

func TestAConnectionThatIsGoneIsAtItsEnd(t *testing.T) {
	link, host := linkPair(t)
	if _, err := syscall.Write(host, []byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Shutdown(host, syscall.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(link)
	if err != nil || string(got) != "last" {
		t.Errorf("read %q, %v", got, err)
	}
	// A socket that was never connected answers like one whose connection a restore has cut.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	cut := &vsockLink{fd, os.NewFile(uintptr(fd), "cut")}
	if _, err := cut.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %v, want the end", err)
	}
	if err := cut.Close(); err != nil {
		t.Error(err)
	}
}
