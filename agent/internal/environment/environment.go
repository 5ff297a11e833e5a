// Package environment puts together the environment variables of programs.
package environment

import (
	"os"
	"strings"

	"emberbox.dev/agent/internal/identity"
)

const file = "/etc/emberbox/environment"

// Base is what every program gets, whoever it runs as: entries of the form NAME=value.
type Base []string

// Load returns the agent's own base and what the image adds to it in its environment file, if it has one.
func Load(root string) Base {
	base := Base{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
	}
	text, err := os.ReadFile(root + file)
	if err != nil {
		return base
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if name, _, ok := strings.Cut(line, "="); ok && name != "" && !strings.HasPrefix(line, "#") {
			base = Merge(base, []string{line})
		}
	}
	return base
}

// For returns the complete environment of a user's program with the given additions.
func (b Base) For(user identity.User, added []string) []string {
	own := []string{"HOME=" + user.Home, "USER=" + user.Name, "LOGNAME=" + user.Name}
	return Merge(Merge(b, own), added)
}

// Merge returns base with the entries of added; where a name is in both, the added value holds.
func Merge(base, added []string) []string {
	merged := make([]string, len(base), len(base)+len(added))
	copy(merged, base)
	for _, entry := range added {
		if at := index(merged, entry[:strings.IndexByte(entry, '=')+1]); at >= 0 {
			merged[at] = entry
		} else {
			merged = append(merged, entry)
		}
	}
	return merged
}

func index(entries []string, prefix string) int {
	for i, entry := range entries {
		if strings.HasPrefix(entry, prefix) {
			return i
		}
	}
	return -1
}

var readAtStart = []string{
	"PYTHON", "RUBY", "GEM_", "BUNDLE_", "NODE_", "UV_", "OPENSSL_", "SSL_", "ICU_", "LD_", "LC_", "MALLOC_",
	// By libraries that an interpreter may have imported ahead.
	"MPLBACKEND", "NPY_", "NUMPY_", "OMP_", "OPENBLAS_",
}

// ReadAtStart tells whether an interpreter reads one of the variables while it starts, so that one that waits would come too late.
func ReadAtStart(entries []string) bool {
	for _, entry := range entries {
		name, _, _ := strings.Cut(entry, "=")
		if name == "LANG" || name == "LANGUAGE" || name == "GLIBC_TUNABLES" {
			return true
		}
		for _, prefix := range readAtStart {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}
