package cgroup

import (
	"os"
	"path/filepath"
	"syscall"
)

// A guest has no swap. When programs' own data fill the memory, the kernel takes away the pages of the very files that they execute,
// reads them anew a moment later, and counts each page taken as progress: it may go on so for minutes before it calls that out of memory.
// A group is thrashing when next to nothing of its files is kept, and what was taken is read again and waited for, time after time.
// No reserve helps: whatever the bound, memory that fills slowly passes through this state.
const (
	leastCache   = 2 << 20
	manyRefaults = 256
	manyFaults   = 32
	strikesOut   = 2
	littleFree   = 24 << 20
	pageSize     = 4096
	statSize     = 8192
)

// counts are what a group, or the machine, has in memory of files, and what it had to do for that so far.
type counts struct{ cache, refaults, faults int64 }

func counters(text, prefix string, unit int64) counts {
	return counts{
		cache:    unit * (field(text, prefix+"active_file") + field(text, prefix+"inactive_file")),
		refaults: field(text, "workingset_refault_file"),
		faults:   field(text, "pgmajfault"),
	}
}

// gauge compares a group's counters with those at the last look.
type gauge struct {
	known   bool
	last    counts
	strikes int
}

func (g *gauge) look(now counts) bool {
	if g.known && now.cache < leastCache && now.refaults-g.last.refaults >= manyRefaults && now.faults-g.last.faults >= manyFaults {
		g.strikes++
	} else {
		g.strikes = 0
	}
	g.known, g.last = true, now
	return g.strikes >= strikesOut
}

// thrash watches a run's own bound, the one that all runs have together, and the machine's memory: what the kernel needs for programs,
// such as page tables, is charged to nobody.
type thrash struct {
	hits              int64
	own, all, machine gauge
}

// Thrashes implements Group.
func (f *folder) Thrashes() bool {
	runs := filepath.Dir(f.path)
	buffer := make([]byte, statSize)
	if hits := field(get(runs+"/memory.events", buffer), "max"); hits != f.thrash.hits {
		f.thrash.hits = hits
		if f.thrash.own.look(counters(get(f.path+"/memory.stat", buffer), "", 1)) {
			return true
		}
		if f.thrash.all.look(counters(get(runs+"/memory.stat", buffer), "", 1)) {
			return f.isLargest(runs)
		}
	}
	var system syscall.Sysinfo_t
	if syscall.Sysinfo(&system) != nil || uint64(system.Freeram)*uint64(system.Unit) >= littleFree {
		return false
	}
	return f.thrash.machine.look(counters(get(f.vmstat, buffer), "nr_", pageSize)) && f.isLargest(runs)
}

// isLargest tells whether no other run has more memory: of several, it is the one to end.
func (f *folder) isLargest(runs string) bool {
	mine := number(f.path + "/memory.current")
	others, _ := os.ReadDir(runs)
	for _, other := range others {
		if other.IsDir() && number(filepath.Join(runs, other.Name(), "memory.current")) > mine {
			return false
		}
	}
	return true
}
