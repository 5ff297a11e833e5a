// Package metrics reads what the guest counts of itself.
package metrics

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	tickMilliseconds = 10 // USER_HZ is 100 on every architecture that Linux still has
	loadScale        = 65536
)

// Snapshot is one reading. Times are in milliseconds, memory in bytes.
type Snapshot struct {
	UptimeMS        int64
	CPUUserMS       int64
	CPUSystemMS     int64
	MemoryTotal     int64
	MemoryAvailable int64
	Load1           float64
}

// Read takes a reading.
func Read() Snapshot {
	var info syscall.Sysinfo_t
	_ = syscall.Sysinfo(&info)
	s := Snapshot{UptimeMS: Uptime(), Load1: float64(info.Loads[0]) / loadScale}
	s.MemoryTotal = int64(info.Totalram) * int64(info.Unit)
	s.MemoryAvailable = memory("MemAvailable:")
	s.CPUUserMS, s.CPUSystemMS = processor()
	return s
}

// MemoryTotal is all memory that the kernel manages, in bytes.
func MemoryTotal() int64 {
	var info syscall.Sysinfo_t
	_ = syscall.Sysinfo(&info)
	return int64(info.Totalram) * int64(info.Unit)
}

// Uptime is the time since the kernel started, in milliseconds.
func Uptime() int64 {
	text, _ := os.ReadFile("/proc/uptime")
	seconds, _, _ := strings.Cut(string(text), " ")
	n, _ := strconv.ParseFloat(seconds, 64)
	return int64(n * 1000)
}

// Kernel is the kernel's release.
func Kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

func memory(name string) int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	_, rest, found := strings.Cut(string(text), name)
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n * 1024
}

// processor returns the CPU time spent in programs and in the kernel, interrupts included.
func processor() (user, system int64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	at := func(i int) int64 {
		if i >= len(fields) {
			return 0
		}
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n * tickMilliseconds
	}
	return at(1) + at(2), at(3) + at(6) + at(7)
}
