package cgroup

import (
	"os"
	"path/filepath"
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
)

// gauge compares a group's counters with those at the last look.
type gauge struct {
	known            bool
	refaults, faults int64
	strikes          int
}

func (g *gauge) look(text string) bool {
	refaults, faults := field(text, "workingset_refault_file"), field(text, "pgmajfault")
	cache := field(text, "active_file") + field(text, "inactive_file")
	if g.known && cache < leastCache && refaults-g.refaults >= manyRefaults && faults-g.faults >= manyFaults {
		g.strikes++
	} else {
		g.strikes = 0
	}
	g.known, g.refaults, g.faults = true, refaults, faults
	return g.strikes >= strikesOut
}

// thrash watches a run's own bound and the one that all runs have together.
type thrash struct {
	hits     int64
	own, all gauge
}

// Thrashes implements Group.
func (f *folder) Thrashes() bool {
	runs := filepath.Dir(f.path)
	var buffer [4096]byte
	hits := field(get(runs+"/memory.events", buffer[:]), "max")
	if hits == f.thrash.hits {
		return false
	}
	f.thrash.hits = hits
	if f.thrash.own.look(get(f.path+"/memory.stat", buffer[:])) {
		return true
	}
	return f.thrash.all.look(get(runs+"/memory.stat", buffer[:])) && f.isLargest(runs)
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
